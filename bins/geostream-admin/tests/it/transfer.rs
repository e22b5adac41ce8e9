//! Logs that move from one store to another.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use geostream_testbed::Postgres;
use serde_json::Value;

use crate::{Setup, said};

impl Setup {
    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Exports the log, and returns what is in the file.
    #[track_caller]
    fn exported(&self) -> String {
        let file = self.file("exported.log");
        let told = self.ends(0, &format!("export {}", file.display()));
        assert!(told.contains("without tokens"), "{told}");
        fs::read_to_string(file).unwrap()
    }

    #[track_caller]
    fn import(&self, code: i32, log: &str) -> String {
        let file = self.file("imported.log");
        fs::write(&file, log).unwrap();
        self.ends(code, &format!("import {}", file.display()))
    }

    /// Returns the history, and what clients are answered.
    fn seen(&self) -> Vec<Value> {
        let clients = ["8.8.8.8", "165.100.97.15", "192.0.2.1", "2001:218::1"];
        let answers = clients.map(|client| self.json(&format!("route {client}")));
        answers.into_iter().chain([self.json("history --limit 500")]).collect()
    }
}

/// A database with GeoStream's tables and nothing in them.
fn database() -> String {
    let url = Postgres::shared().database();
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_geostream-admin"));
    migrate.env("GEOSTREAM_STORE", &url).args(["migrate", "up"]);
    said(&migrate.output().unwrap(), 0, "migrate up");
    url
}

/// Makes commits of several kinds, and more than one page of them.
fn make_history(setup: &Setup) {
    for line in [
        "region set eu-west-1 --cost-per-gb 0.2",
        "region drain us-west-2 --for 30m --reason work",
        "flag set public_explain off",
        "setting set --alternatives 1",
        "rollback 2 --yes --reason again",
    ] {
        setup.ends(0, line);
    }
    let token = fs::read_to_string(setup.file("admin.token")).unwrap();
    let latest = setup.json("status")["revision"].as_u64().unwrap();
    let agent = ureq::Agent::new_with_defaults();
    for revision in latest..latest + 600 {
        let url = format!("{}/api/v1/regions/r{}?reason=many%20%C3%BC", setup.url, revision % 7);
        let put = agent.put(&url).header("authorization", format!("Bearer {}", token.trim()));
        let put = put.header("if-match", format!("\"{revision}\""));
        let body = format!(r#"{{"latitude": {}.25, "longitude": 2}}"#, revision % 90);
        put.content_type("application/json").send(body).unwrap();
    }
}

#[test]
fn a_log_moves_between_stores_and_stays_what_it_is() {
    let first = Setup::new();
    make_history(&first);
    let log = first.exported();
    assert_eq!(log.lines().count(), 608, "a line each, and one at the beginning and the end");

    let second = Setup::start(&["--store", &database()]);
    let told = second.import(0, &log);
    assert!(told.contains("now at revision 606") && told.contains("token add"), "{told}");
    assert_eq!(second.exported(), log);
    assert_eq!(second.seen(), first.seen());
    assert!(second.import(5, &log).contains("is at revision 606"), "it is not empty any more");

    let third = Setup::start(&[]);
    third.import(0, &second.exported());
    assert_eq!(third.exported(), log);
    assert_eq!(third.seen(), first.seen());
    assert_eq!(third.json("diff 3 400"), first.json("diff 3 400"));
    third.ends(0, "flag set public_explain on");
}

#[test]
fn a_file_that_is_not_whole_is_not_imported() {
    let from = Setup::new();
    from.ends(0, "flag set public_explain off");
    let log = from.exported();
    let lines: Vec<&str> = log.lines().collect();
    let changed = log.replace("public_explain", "caller_location");
    let cases = [
        (String::new(), "line 1: the file is empty"),
        ("{}\n".to_owned(), "line 1: this is no exported log"),
        (log.replace("\"geostream_log\":1", "\"geostream_log\":2"), "format 2"),
        (lines[..3].join("\n"), "line 4: the file breaks off"),
        (log[..log.len() - 20].to_owned(), "line 4: this is no last line"),
        ([lines[0], lines[2], lines[3]].join("\n"), "commit 2 stands where commit 1 belongs"),
        ([lines[0], lines[1], lines[3]].join("\n"), "to have 2 commits, and has 1"),
        (changed, "not as they were written"),
        ([lines[0], "{\"revision\": 1}", lines[3]].join("\n"), "line 2: this is no commit"),
        (log.clone() + "more", "line 5: there is more"),
    ];
    let to = Setup::start(&[]);
    for (file, reason) in cases {
        let told = to.import(1, &file);
        assert!(told.contains(reason), "{reason}: {told}");
        assert!(told.contains("export"), "it says what helps: {told}");
    }
    assert!(to.ends(1, "export nothing.log").contains("nothing was ever committed"));
    assert!(from.import(5, &log).contains("is at revision 2"));
    to.import(0, &log);
    assert_eq!(to.exported(), log);
}

#[test]
fn a_backup_of_a_running_server_starts_another_one_with_everything() {
    let old = Setup::new();
    make_history(&old);
    let reader = old.ends(0, "token create reader --scope viewer");
    let file = old.file("saved.redb");
    let told = old.ends(0, &format!("backup {}", file.display()));
    assert!(told.contains("audit trail"), "{told}");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it has tokens");
    assert!(!old.file("backup.redb").exists(), "the server keeps no copy");
    let new = Setup::on_backup(&file, &old.token());
    assert_eq!(new.seen(), old.seen());
    let tokens = |setup: &Setup| {
        let mut tokens = setup.json("token list");
        for token in tokens["tokens"].as_array_mut().unwrap() {
            // Each server tells when it was asked itself.
            token.as_object_mut().unwrap().remove("last_used");
        }
        tokens
    };
    assert_eq!(tokens(&new), tokens(&old));
    let trail = "audit --what createToken --limit 9";
    assert_eq!(new.json(trail), old.json(trail), "who made the token is known");
    let listed = new
        .command(&["region", "list"])
        .env("GEOSTREAM_TOKEN", reader.lines().next().unwrap())
        .output();
    said(&listed.unwrap(), 0, "region list");
    new.ends(0, "region drain us-west-2 --for 30m --reason work");
}
