//! What `--help` shows beside what each command says of itself: aliases, examples, and the options
//! of all commands last.

use clap::Command;

/// The heading of the options that each command takes.
const GLOBAL: &str = "Global options";

/// Other words for a command, as other programs call it.
const ALIASES: [(&str, &[&str]); 5] = [
    ("list", &["ls"]),
    ("show", &["get"]),
    ("remove", &["rm", "delete"]),
    ("add", &["create"]),
    ("revoke", &["rm"]),
];

/// What is typed for the commonest tasks, by the words of the command.
const EXAMPLES: [(&str, &[&str]); 13] = [
    (
        "",
        &[
            "geostream-admin status",
            "geostream-admin route 203.0.113.7 --explain",
            "geostream-admin region drain eu-west-1 --for 20m --reason \"kernel upgrade\"",
            "geostream-admin --server https://geo.example.com region list -o json",
        ],
    ),
    (
        "apply",
        &[
            "geostream-admin apply -f regions.toml --dry-run",
            "geostream-admin apply -f regions.toml --reason \"two more regions\"",
            "yq -o json regions.yaml | geostream-admin apply -f - --yes",
        ],
    ),
    ("config show", &["geostream-admin config show > regions.toml"]),
    ("diff", &["geostream-admin diff 16 17", "geostream-admin diff -f regions.toml --exit-code"]),
    ("health", &["geostream-admin health --watch", "geostream-admin health --history eu-west-1"]),
    (
        "region add",
        &["geostream-admin region add fra --latitude 50.11 --longitude 8.68 --endpoint \
              https://fra.example.com --capacity 1000 --check https://fra.example.com/health"],
    ),
    (
        "region set",
        &[
            "geostream-admin region set fra --capacity 1500 --label tier=gold",
            "geostream-admin region set fra --check none",
        ],
    ),
    ("region drain", &["geostream-admin region drain fra --for 20m --reason \"kernel upgrade\""]),
    (
        "route",
        &[
            "geostream-admin route 203.0.113.7 --service api --explain",
            "geostream-admin route --latitude 48.86 --longitude 2.35 --country FR",
        ],
    ),
    (
        "service add",
        &["geostream-admin service add api --region fra --region sin,weight=2 --objective latency"],
    ),
    (
        "service set",
        &[
            "geostream-admin service set api --region fra,weight=9 --removal-budget 40",
            "geostream-admin service set api --without-region sin",
        ],
    ),
    ("setting set", &["geostream-admin setting set requests_per_second=50 --reason \"a flood\""]),
    ("rollback", &["geostream-admin rollback 16 --reason \"wrong weights\""]),
];

/// Adds to a command and to those below it.
pub(crate) fn dressed(command: Command) -> Command {
    let command = command.mut_args(|argument| match argument.is_global_set() {
        true => argument.help_heading(GLOBAL),
        false => argument,
    });
    below(command, "")
}

fn below(command: Command, words: &str) -> Command {
    let examples = EXAMPLES.iter().find(|(of, _)| *of == words);
    let command = match examples {
        Some((_, lines)) => command.after_help(format!("Examples:\n  {}", lines.join("\n  "))),
        None => command,
    };
    let names: Vec<String> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    command.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        let aliases = ALIASES.iter().find(|(of, _)| *of == name).map(|(_, aliases)| *aliases);
        let free =
            aliases.into_iter().flatten().filter(|alias| !names.contains(&(**alias).to_owned()));
        let free: Vec<&str> = free.copied().collect();
        let words = format!("{words} {name}").trim_start().to_owned();
        below(command.visible_aliases(free), &words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn commands_are_found_by_the_words_of_other_programs() {
        let command = dressed(crate::Arguments::command());
        for line in ["region ls", "region get eu", "service rm api", "flag ls", "token ls"] {
            let words = ["geostream-admin"].into_iter().chain(line.split(' '));
            assert!(command.clone().try_get_matches_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn every_example_is_a_command_that_is_taken() {
        for (of, lines) in EXAMPLES {
            let mut command = dressed(crate::Arguments::command());
            for word in of.split_whitespace() {
                command = command.find_subcommand(word).expect(of).clone();
            }
            for line in lines {
                let (_, line) = line.split_once("geostream-admin").unwrap();
                let line = line.split(" > ").next().unwrap();
                // What is quoted is one word.
                let quoted =
                    line.split('"').enumerate().flat_map(|(number, part)| match number % 2 {
                        0 => part.split_whitespace().collect(),
                        _ => vec![part],
                    });
                let words = ["geostream-admin"].into_iter().chain(quoted);
                let parsed = crate::Arguments::try_parse_from(words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn the_options_of_all_commands_come_last() {
        let mut command = dressed(crate::Arguments::command());
        command.build();
        let region = command.find_subcommand_mut("region").unwrap();
        let help = region.find_subcommand_mut("drain").unwrap().render_long_help().to_string();
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text}: {help}"));
        assert!(at("--reason") < at(GLOBAL) && at(GLOBAL) < at("--server"), "{help}");
        assert!(at("--server") < at("Examples:"), "{help}");
    }
}
