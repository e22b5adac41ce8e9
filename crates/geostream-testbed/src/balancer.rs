//! Load balancers: HAProxy and nginx, with the files in `deploy/`.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use crate::account::Account;
use crate::keeper::Keeper;
use crate::process::{directory, start_on_a_free_port};

/// A load balancer in front of some nodes; dropping it stops it.
#[derive(Debug)]
pub struct Balancer {
    /// `None` before it is started. It comes first: it ends before its directory goes.
    keeper: Option<Keeper>,
    directory: TempDir,
    port: u16,
}

impl Balancer {
    /// Starts HAProxy with this configuration, in which the clients' port and the nodes' addresses
    /// are replaced.
    #[must_use]
    pub fn haproxy(configuration: &str, nodes: &[SocketAddr]) -> Self {
        let program = program("/usr/sbin/haproxy", "haproxy");
        Self::start("HAProxy", "Using epoll", |port, directory| {
            let listening = replace(configuration, "bind :80", &format!("bind 127.0.0.1:{port}"));
            let file = directory.join("haproxy.cfg");
            fs::write(&file, with_nodes(&listening, nodes)).expect("the directory is there");
            [program, "-db", "-V", "-f"]
                .map(str::to_owned)
                .into_iter()
                .chain([text(&file)])
                .collect()
        })
    }

    /// Starts nginx with this file as one of its `conf.d`, in which the clients' port and the nodes'
    /// addresses are replaced.
    #[must_use]
    pub fn nginx(configuration: &str, nodes: &[SocketAddr]) -> Self {
        let program = program("/usr/sbin/nginx", "nginx");
        Self::start("nginx", "start worker process ", |port, directory| {
            let listening =
                replace(configuration, "listen 80;", &format!("listen 127.0.0.1:{port};"));
            let file = directory.join("geostream.conf");
            fs::write(file, with_nodes(&listening, nodes)).expect("the directory is there");
            let main = directory.join("nginx.conf");
            fs::write(&main, NGINX_MAIN).expect("the directory is there");
            let prefix = text(directory);
            [program, "-p", &prefix, "-e", "stderr", "-c", &text(&main)].map(str::to_owned).into()
        })
    }

    /// Returns the address that clients use.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts a balancer on a free port; what the closure writes and returns depends on that.
    fn start(name: &str, ready: &'static str, command: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let mut balancer = Self { keeper: None, directory: directory(), port: 0 };
        start_on_a_free_port(name, |port| {
            balancer.port = port;
            let directory = balancer.directory.path();
            let server = command(port, directory);
            let mut shell = Command::new("/bin/sh");
            if let Some(account) = Account::unprivileged() {
                account.run(&mut shell);
            }
            balancer.keeper = Some(Keeper::start(shell, directory, &server, ready)?);
            Ok(())
        });
        // What is logged comes shortly before the balancer accepts.
        while TcpStream::connect(balancer.address()).is_err() {
            thread::yield_now();
        }
        balancer
    }
}

/// Everything of nginx that is not in `conf.d`, without a place for files outside of its directory.
const NGINX_MAIN: &str = "\
daemon off;
pid nginx.pid;
error_log stderr notice;
worker_processes 1;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include geostream.conf;
}
";

/// Puts the nodes in the place of those that the file names; one that is not needed is left out.
fn with_nodes(configuration: &str, nodes: &[SocketAddr]) -> String {
    let mut filled = configuration.to_owned();
    for number in 1..=DECLARED {
        let declared = format!("10.0.0.1{number}:8080");
        assert!(configuration.contains(&declared), "{declared} is in the file");
        match nodes.get(number - 1) {
            Some(node) => filled = filled.replace(&declared, &node.to_string()),
            None => filled = without_line(&filled, &declared),
        }
    }
    filled
}

/// How many nodes the files name.
const DECLARED: usize = 3;

fn without_line(text: &str, with: &str) -> String {
    text.lines().filter(|line| !line.contains(with)).map(|line| format!("{line}\n")).collect()
}

fn replace(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} is in the file once");
    text.replace(from, to)
}

fn program(path: &'static str, package: &str) -> &'static str {
    assert!(Path::new(path).exists(), "this needs {path}: apt-get install {package}");
    path
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
