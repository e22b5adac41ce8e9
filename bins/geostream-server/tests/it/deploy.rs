//! The files in deploy/ that start the server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::server::Home;

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd/geostream.service");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_systemd_unit_is_valid_and_hardened() {
    let home = Home::new();
    let path = home.path("geostream.service");
    // systemd looks whether the program is there.
    let program = env!("CARGO_BIN_EXE_geostream-server");
    let unit = unit();
    assert!(unit.contains("ExecStart=/usr/bin/geostream-server "));
    fs::write(&path, unit.replace("/usr/bin/geostream-server", program)).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
    // Where there is no systemd to ask, it complains of other units; this one it does not name.
    let complaints = String::from_utf8_lossy(&verified.stderr);
    assert!(!complaints.contains("geostream.service"), "{complaints}");
    let exposure = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=30", "--no-pager"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(exposure.status.success(), "{}", String::from_utf8_lossy(&exposure.stdout));
}

#[test]
fn the_systemd_unit_starts_the_server_with_flags_that_it_has() {
    let home = Home::new();
    let unit = unit();
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let config = home.path("geostream.toml");
    fs::write(&config, "listen = \"127.0.0.1:0\"\n").unwrap();
    let mut arguments: Vec<String> = start.split(' ').skip(1).map(str::to_owned).collect();
    for argument in &mut arguments {
        if argument == "/etc/geostream/geostream.toml" {
            *argument = config.to_string_lossy().into_owned();
        } else if argument == "/var/lib/geostream" {
            *argument = home.path("data").to_string_lossy().into_owned();
        }
    }
    let checked = Command::new(env!("CARGO_BIN_EXE_geostream-server"))
        .args(&arguments)
        .arg("--check-config")
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
