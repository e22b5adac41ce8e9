//! Who servers run as: PostgreSQL refuses to be started by root.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// An unprivileged user, for tests that are run by root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// Returns who servers are to run as; `None` for whoever runs the test.
    pub(crate) fn unprivileged() -> Option<Self> {
        let is_root = fs::metadata("/proc/self").expect("this process is there").uid() == 0;
        is_root.then(|| Self::named("postgres"))
    }

    fn named(name: &str) -> Self {
        let users = fs::read_to_string("/etc/passwd").expect("there are users");
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let user = fields.into_iter().find(|fields| fields[0] == name);
        let user = user.unwrap_or_else(|| panic!("there is no user {name}"));
        let number = |field: &str| field.parse().expect("users and groups have numbers");
        Self { user: number(user[2]), group: number(user[3]) }
    }

    pub(crate) fn own(self, path: &Path) {
        chown(path, Some(self.user), Some(self.group)).expect("root gives files away");
    }

    pub(crate) fn run(self, command: &mut Command) {
        command.uid(self.user).gid(self.group);
    }
}
