//! Sending what waits in the queue.

use std::error::Error;
use std::time::Duration;

use geostream_ports::Span;
use hyper_rustls::HttpsConnectorBuilder;
use metrics::Counter;
use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::data::Moments;
use crate::{Protocol, Sender, Target, spans};

/// The most spans that are sent at once.
const BATCH: usize = 512;

/// How long to wait for more spans before a few are sent.
const GATHERING: Duration = Duration::from_millis(200);

/// How long the last spans may take when the program ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends spans to a collector.
#[derive(Debug)]
pub struct Exporter {
    waiting: mpsc::Receiver<Span>,
    exporter: SpanExporter,
    endpoint: String,
    sent: Counter,
    failed: Counter,
    /// Whether the last spans could not be sent.
    is_failing: bool,
}

impl Exporter {
    pub(crate) fn new(
        Target { endpoint, protocol, sender }: &Target,
        waiting: mpsc::Receiver<Span>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut exporter = match protocol {
            Protocol::Grpc => over_grpc(endpoint)?,
            Protocol::Http => over_http(endpoint)?,
        };
        exporter.set_resource(&resource(sender));
        let (sent, failed) = (spans("sent"), spans("failed"));
        Ok(Self { waiting, exporter, endpoint: endpoint.clone(), sent, failed, is_failing: false })
    }

    /// Goes on until it is told to stop, and what waits is sent or has taken too long.
    pub async fn run(mut self, stop: CancellationToken) {
        let too_long = async {
            stop.cancelled().await;
            sleep(FAREWELL).await;
        };
        select! {
            () = self.send_all(&stop) => {}
            () = too_long => tracing::warn!("the last spans could not be sent in time"),
        }
    }

    async fn send_all(&mut self, stop: &CancellationToken) {
        while let Some(batch) = self.next_batch(stop).await {
            self.send(batch).await;
        }
    }

    /// Waits for spans; `None` when there are none any more.
    async fn next_batch(&mut self, stop: &CancellationToken) -> Option<Vec<Span>> {
        let mut batch = Vec::new();
        select! {
            biased;
            _ = self.waiting.recv_many(&mut batch, BATCH) => {}
            () = stop.cancelled() => {}
        }
        if !batch.is_empty() && batch.len() < BATCH {
            select! {
                () = sleep(GATHERING) => {}
                () = stop.cancelled() => {}
            }
        }
        while batch.len() < BATCH
            && let Ok(span) = self.waiting.try_recv()
        {
            batch.push(span);
        }
        (!batch.is_empty()).then_some(batch)
    }

    async fn send(&mut self, batch: Vec<Span>) {
        let (count, moments) = (batch.len() as u64, Moments::now());
        let batch = batch.into_iter().map(|span| moments.data(span)).collect();
        let done = self.exporter.export(batch).await;
        let was_failing = std::mem::replace(&mut self.is_failing, done.is_err());
        match done {
            Ok(()) => {
                self.sent.increment(count);
                if was_failing {
                    tracing::info!(endpoint = self.endpoint, "spans are sent again");
                }
            }
            Err(error) => {
                self.failed.increment(count);
                if !was_failing {
                    tracing::warn!(%error, endpoint = self.endpoint, "spans cannot be sent");
                }
            }
        }
    }
}

fn over_grpc(endpoint: &str) -> Result<SpanExporter, Box<dyn Error + Send + Sync>> {
    let mut builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    if endpoint.starts_with("https:") {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    Ok(builder.build()?)
}

fn over_http(endpoint: &str) -> Result<SpanExporter, Box<dyn Error + Send + Sync>> {
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .build();
    let client = HyperClient::new(connector, OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, None);
    let builder = SpanExporter::builder().with_http().with_endpoint(endpoint);
    let builder = builder.with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
    Ok(builder.with_http_client(client).build()?)
}

fn resource(Sender { name, version, instance }: &Sender) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name("geostream")
        .with_attribute(KeyValue::new("service.version", *version))
        .with_attribute(KeyValue::new("service.instance.id", instance.clone()))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match name {
        Some(name) => resource.with_service_name(name.clone()).build(),
        None => resource.build(),
    }
}
