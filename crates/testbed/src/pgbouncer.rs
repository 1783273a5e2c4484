//! A private PgBouncer in front of a private PostgreSQL.
//!
//! It lets `postgres` in from loopback, who may not look inside.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use crate::{
    machine::{self, find_program},
    postgres::Postgres,
    server::Server,
};

/// One PgBouncer on a port of its own; it ends when this value is dropped.
pub struct PgBouncer {
    server: Server,
}

impl PgBouncer {
    /// Starts one in front of `behind`, with `pool_mode` (`session`, `transaction`, `statement`) and other
    /// settings of `pgbouncer.ini`.
    #[must_use]
    pub fn start(behind: &Postgres, pool_mode: &str, settings: &[(&str, &str)]) -> Self {
        let folder = machine::new_folder(false);
        give_to_stand_in(&folder);
        let [conf, pid_file, users] = ["pgbouncer.ini", "pid", "users"].map(|it| folder.join(it));
        fs::write(&users, "\"postgres\" \"\"\n").expect("the folder is new");
        give_to_stand_in(&users);
        let mut command = machine::as_stand_in(&program());
        command.push(conf.clone().into_os_string());
        let server = behind.address();
        let configure = |port| {
            let mut text = format!(
                "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
                 pidfile = {}\npool_mode = {pool_mode}\n",
                server.ip(),
                server.port(),
                users.display(),
                pid_file.display(),
            );
            for (name, value) in settings {
                writeln!(text, "{name} = {value}").expect("a string takes all");
            }
            fs::write(&conf, text).expect("the folder is new");
            give_to_stand_in(&conf);
        };
        let noted = folder.join("pid");
        let is_ready = move |port, pid: u32| {
            let file = fs::read_to_string(&noted).unwrap_or_default();
            file.trim() == pid.to_string()
                && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        };
        Self { server: Server::start("PgBouncer", folder, &command, configure, Box::new(is_ready)) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A URL of the database server, led through this one.
    pub fn in_place_of(&self, url: &str) -> String {
        let (start, rest) = url.split_once("://").expect("a URL");
        let (user, rest) = rest.split_once('@').expect("user@address/name");
        let (_, name) = rest.split_once('/').expect("address/name");
        format!("{start}://{user}@{}/{name}", self.address())
    }

    /// The end of its log, for the message of a test that fails.
    pub fn log(&self) -> String {
        self.server.log_text()
    }
}

fn give_to_stand_in(path: &Path) {
    if let Some(user) = machine::stand_in() {
        chown(path, Some(user.uid), Some(user.gid)).expect("root may give its files away");
    }
}

/// Debian puts it where only root looks.
fn program() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/pgbouncer");
    if usual.is_file() { usual } else { find_program("pgbouncer", "pgbouncer") }
}
