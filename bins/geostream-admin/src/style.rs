//! Colours, where a person reads them.

use std::env;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

/// What a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Good,
    Doubtful,
    Bad,
}

impl Style {
    /// Returns the codes of ECMA-48 that begin it.
    fn begin(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Doubtful => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }

    /// Returns the text in this style.
    pub(crate) fn paint(self, text: &str) -> String {
        format!("{}{text}\x1b[0m", self.begin())
    }

    /// Returns the text for standard output: in this style where that shows colours.
    pub(crate) fn out(self, text: &str) -> String {
        if output_has_colours() { self.paint(text) } else { text.to_owned() }
    }

    /// Returns the text for standard error.
    pub(crate) fn error(self, text: &str) -> String {
        let has_colours =
            wanted(io::stderr().is_terminal(), |name| env::var_os(name).is_some_and(is_set));
        if has_colours { self.paint(text) } else { text.to_owned() }
    }

    /// Returns how a word in a table is shown that tells how something is.
    pub(crate) fn of_word(text: &str) -> Option<Self> {
        let word = text.split([' ', ',']).next().unwrap_or_default();
        match word {
            "healthy" | "up" | "on" | "chosen" | "ready" | "answers" | "done" => Some(Self::Good),
            "unknown" | "drain" | "drained" | "full" | "heard" => Some(Self::Doubtful),
            "unhealthy" | "down" | "refused" | "fenced" | "missing" => Some(Self::Bad),
            _ => None,
        }
    }
}

/// Tells whether standard output shows colours.
pub(crate) fn output_has_colours() -> bool {
    static HAS_COLOURS: OnceLock<bool> = OnceLock::new();
    *HAS_COLOURS.get_or_init(|| {
        wanted(io::stdout().is_terminal(), |name| env::var_os(name).is_some_and(is_set))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "`is_some_and` hands the value over")]
fn is_set(value: std::ffi::OsString) -> bool {
    !value.is_empty() && value != "0"
}

/// Decides by the conventions of <https://no-color.org> and <https://bixense.com/clicolors>.
fn wanted(is_terminal: bool, is_set: impl Fn(&str) -> bool) -> bool {
    !is_set("NO_COLOR") && (is_terminal || is_set("CLICOLOR_FORCE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_the_environment_says_otherwise() {
        for (is_terminal, set, expected) in [
            (true, &[][..], true),
            (false, &[], false),
            (true, &["NO_COLOR"], false),
            (false, &["CLICOLOR_FORCE"], true),
            (true, &["NO_COLOR", "CLICOLOR_FORCE"], false),
        ] {
            assert_eq!(wanted(is_terminal, |name| set.contains(&name)), expected, "{set:?}");
        }
    }

    #[test]
    fn a_word_with_more_behind_it_keeps_its_style() {
        assert_eq!(Style::of_word("healthy, 2 failed"), Some(Style::Good));
        assert_eq!(Style::of_word("unhealthy (down at 2 of 3)"), Some(Style::Bad));
        assert_eq!(Style::of_word("eu-west-1"), None);
    }
}
