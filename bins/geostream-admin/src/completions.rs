//! `completions`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::output::print;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) {
    let mut command = crate::help::dressed(crate::Arguments::command());
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    print(String::from_utf8_lossy(&script));
}
