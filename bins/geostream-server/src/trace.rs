//! What is traced, and where it is sent: by settings of this server, or else by those that programs
//! with OpenTelemetry have in common.

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use geostream_app::{Ratio, Sampling};
use geostream_otlp::Protocol;
use serde::Deserialize;

/// What is told by flags and in the environment.
#[derive(Debug, Args)]
pub(crate) struct TraceArguments {
    /// The URL of an OpenTelemetry collector, which switches traces on
    #[arg(long, env = "GEOSTREAM_TRACE_ENDPOINT", value_name = "URL", hide_env_values = true)]
    trace_endpoint: Option<String>,

    /// How the collector is spoken with [default: http/protobuf]
    #[arg(long, env = "GEOSTREAM_TRACE_PROTOCOL")]
    trace_protocol: Option<ProtocolName>,

    /// How much is traced of what no caller has decided on, from 0 to 1 [default: 0]
    #[arg(long, env = "GEOSTREAM_TRACE_RATIO", value_name = "RATIO")]
    trace_ratio: Option<f64>,

    /// Whether callers decide, where they say whether they trace a request [default: true]
    #[arg(long, env = "GEOSTREAM_TRACE_PARENT_BASED", value_name = "BOOL")]
    trace_parent_based: Option<bool>,

    #[command(flatten)]
    common: Common,
}

/// What programs with OpenTelemetry have in common. Source:
/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
#[derive(Debug, Args)]
struct Common {
    #[arg(long, env = "OTEL_SDK_DISABLED", hide = true)]
    otel_sdk_disabled: Option<String>,
    #[arg(long, env = "OTEL_SERVICE_NAME", hide = true)]
    otel_service_name: Option<String>,
    #[arg(long, env = "OTEL_TRACES_EXPORTER", hide = true)]
    otel_traces_exporter: Option<String>,
    #[arg(long, env = "OTEL_TRACES_SAMPLER", hide = true)]
    otel_traces_sampler: Option<String>,
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", hide = true)]
    otel_traces_sampler_arg: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide = true, hide_env_values = true)]
    otel_endpoint: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", hide = true, hide_env_values = true)]
    otel_traces_endpoint: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", hide = true)]
    otel_protocol: Option<String>,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", hide = true)]
    otel_traces_protocol: Option<String>,
}

/// How a collector is spoken with.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
pub(crate) enum ProtocolName {
    /// OTLP over gRPC, as a rule on port 4317
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP over HTTP, as a rule on port 4318
    #[serde(rename = "http/protobuf")]
    #[value(name = "http/protobuf")]
    Http,
}

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    endpoint: Option<String>,
    protocol: Option<ProtocolName>,
    ratio: Option<f64>,
    parent_based: Option<bool>,
}

/// What is traced, and where it is sent.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) endpoint: String,
    pub(crate) protocol: Protocol,
    pub(crate) sampling: Sampling,
    /// What this server is called among others, if somebody says so.
    pub(crate) service: Option<String>,
}

impl Trace {
    /// Puts together what is told; `None` if nothing is traced.
    pub(crate) fn read(arguments: &TraceArguments, file: &File) -> anyhow::Result<Option<Self>> {
        let common = &arguments.common;
        if common.is_off() {
            return Ok(None);
        }
        let own = given(arguments.trace_endpoint.as_ref());
        let base =
            own.or_else(|| given(common.otel_endpoint.as_ref())).or(file.endpoint.as_deref());
        let whole = given(common.otel_traces_endpoint.as_ref()).filter(|_| own.is_none());
        let Some(url) = whole.or(base) else { return Ok(None) };
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        ensure!(is_url, "trace.endpoint: a URL such as http://collector:4318 is expected");
        // It is logged.
        let expected = "trace.endpoint: a password belongs into OTEL_EXPORTER_OTLP_HEADERS";
        ensure!(!url.contains('@'), expected);
        let name = match arguments.trace_protocol {
            Some(name) => Some(name),
            None => common.protocol()?.or(file.protocol),
        };
        let (protocol, path) = match name {
            Some(ProtocolName::Grpc) => (Protocol::Grpc, ""),
            // The one that OpenTelemetry recommends.
            Some(ProtocolName::Http) | None => (Protocol::Http, "/v1/traces"),
        };
        let endpoint = match whole {
            Some(url) => url.to_owned(),
            None => format!("{}{path}", url.trim_end_matches('/')),
        };
        let sampling = sampling(arguments, file)?;
        let service = given(common.otel_service_name.as_ref()).map(str::to_owned);
        Ok(Some(Self { endpoint, protocol, sampling, service }))
    }
}

fn sampling(arguments: &TraceArguments, file: &File) -> anyhow::Result<Sampling> {
    let (ratio, parent_based) = arguments.common.sampler()?.unzip();
    let ratio = arguments.trace_ratio.or(ratio).or(file.ratio);
    let parent_based = arguments.trace_parent_based.or(parent_based);
    Ok(Sampling {
        ratio: Ratio::new(ratio.unwrap_or_default()).context("trace.ratio")?,
        follows_callers: parent_based.or(file.parent_based).unwrap_or(true),
    })
}

/// OpenTelemetry takes an empty variable for one that is missing.
fn given(variable: Option<&String>) -> Option<&str> {
    variable.map(String::as_str).filter(|text| !text.is_empty())
}

impl Common {
    fn is_off(&self) -> bool {
        let is_disabled = given(self.otel_sdk_disabled.as_ref())
            .is_some_and(|it| it.eq_ignore_ascii_case("true"));
        is_disabled || given(self.otel_traces_exporter.as_ref()).is_some_and(|it| it == "none")
    }

    fn protocol(&self) -> anyhow::Result<Option<ProtocolName>> {
        let of_traces = given(self.otel_traces_protocol.as_ref());
        match of_traces.or_else(|| given(self.otel_protocol.as_ref())) {
            None => Ok(None),
            Some("grpc") => Ok(Some(ProtocolName::Grpc)),
            Some("http/protobuf") => Ok(Some(ProtocolName::Http)),
            Some(other) => bail!(
                "OTEL_EXPORTER_OTLP_PROTOCOL: grpc or http/protobuf is expected, not {other:?}"
            ),
        }
    }

    /// Returns how much is sampled, and whether callers decide.
    fn sampler(&self) -> anyhow::Result<Option<(f64, bool)>> {
        let Some(name) = given(self.otel_traces_sampler.as_ref()) else { return Ok(None) };
        let (kind, parent_based) = match name.strip_prefix("parentbased_") {
            Some(kind) => (kind, true),
            None => (name, false),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => match given(self.otel_traces_sampler_arg.as_ref()) {
                Some(ratio) => ratio.parse().context("OTEL_TRACES_SAMPLER_ARG")?,
                None => 1.0,
            },
            _ => bail!(
                "OTEL_TRACES_SAMPLER: always_on, always_off or traceidratio is expected, each also \
                 with parentbased_ before it, not {name:?}"
            ),
        };
        Ok(Some((ratio, parent_based)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        trace: TraceArguments,
    }

    fn read(flags: &[&str], file: &str) -> anyhow::Result<Option<Trace>> {
        // In place of the variables: nobody else's tests are to see them.
        let Program { trace } = Program::parse_from(["server"].iter().chain(flags));
        Trace::read(&trace, &toml::from_str(file)?)
    }

    fn endpoint(flags: &[&str], file: &str) -> Option<String> {
        read(flags, file).unwrap().map(|trace| trace.endpoint)
    }

    #[test]
    fn a_collector_switches_traces_on() {
        let file = "endpoint = 'http://file:4318/'";
        let (common, whole) =
            ("--otel-endpoint=http://common:4318", "--otel-traces-endpoint=http://all/x");
        let own = "--trace-endpoint=http://own:4318";
        for (flags, file, expected) in [
            (&[][..], "", None),
            (&[], file, Some("http://file:4318/v1/traces")),
            (&[common], file, Some("http://common:4318/v1/traces")),
            (&[common, whole], file, Some("http://all/x")),
            (&[common, whole, own], file, Some("http://own:4318/v1/traces")),
            (&[own, "--trace-protocol=grpc"], "", Some("http://own:4318")),
            (&[own, "--otel-protocol=grpc"], "protocol = 'http/protobuf'", Some("http://own:4318")),
            (&["--otel-endpoint="], "", None),
            (&[own, "--otel-sdk-disabled=true"], file, None),
            (&[own, "--otel-traces-exporter=none"], file, None),
        ] {
            assert_eq!(endpoint(flags, file).as_deref(), expected, "{flags:?} {file}");
        }
    }

    #[test]
    fn nothing_is_sampled_but_what_is_asked_for() {
        let sampling = |flags: &[&str], file: &str| {
            let flags: Vec<_> =
                flags.iter().chain(&["--trace-endpoint=http://x"]).copied().collect();
            let Sampling { ratio, follows_callers } = read(&flags, file).unwrap().unwrap().sampling;
            (ratio, follows_callers)
        };
        let ratio = |share| Ratio::new(share).unwrap();
        assert_eq!(sampling(&[], ""), (ratio(0.0), true));
        assert_eq!(sampling(&[], "ratio = 0.5\nparent_based = false"), (ratio(0.5), false));
        let always = "--otel-traces-sampler=always_on";
        assert_eq!(sampling(&[always], "ratio = 0.5"), (ratio(1.0), false));
        let (by_ratio, tenth) =
            ("--otel-traces-sampler=parentbased_traceidratio", "--otel-traces-sampler-arg=0.1");
        assert_eq!(sampling(&[by_ratio, tenth], ""), (ratio(0.1), true));
        assert_eq!(sampling(&[always, "--trace-ratio=0.2"], ""), (ratio(0.2), false));
    }

    #[test]
    fn errors_say_what_is_expected() {
        let own = "--trace-endpoint=http://x";
        for (flags, expected) in [
            (&["--trace-endpoint=collector:4317"][..], "trace.endpoint: a URL such as"),
            (&["--trace-endpoint=http://me:secret@x"], "OTEL_EXPORTER_OTLP_HEADERS"),
            (&[own, "--trace-ratio=2"], "trace.ratio"),
            (&[own, "--otel-protocol=http/json"], "grpc or http/protobuf is expected"),
            (
                &[own, "--otel-traces-sampler=jaeger_remote"],
                "always_on, always_off or traceidratio",
            ),
        ] {
            let error = format!("{:#}", read(flags, "").unwrap_err());
            assert!(error.contains(expected), "{flags:?}: {error}");
        }
    }
}
