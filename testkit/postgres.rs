//! A PostgreSQL server that belongs to one test or bench: `tests/postgres`, with its end tied to theirs.
//!
//! Only people's tools ask it here, through `psql`: what a test claims about gcache does not lean on
//! the driver that gcache uses.

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::proc;
use super::wait::PATIENCE;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
const PASSWORD: &str = "gcache";

/// The files of a certificate and its key, as PEM. With these the server takes TLS only.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A running server, or one that [`Postgres::crash`] or [`Postgres::stop`] ended and
/// [`Postgres::resume`] can bring back: on the same port, with the same data. Gone when dropped, and
/// gone if the test is killed.
///
/// The calls block the thread: a start for about a second, a resume and an end for far less.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// The script, and the pipe whose end ends it. None while the server is down.
    running: Option<(Child, ChildStdin)>,
    dir: PathBuf,
    log: PathBuf,
    settings: Vec<String>,
    tls: Option<Tls>,
    url: String,
    frozen: bool,
}

impl Postgres {
    /// Starts a server with its files in `dir` and settings of postgresql.conf, such as
    /// `max_connections=20`; returns once it takes connections.
    ///
    /// Opens `dir` for passing through: where this runs as root, PostgreSQL does not.
    pub(crate) fn start(dir: &Path, settings: &[&str], tls: Option<Tls>) -> Self {
        std::fs::set_permissions(dir, Permissions::from_mode(0o711))
            .expect("the folder is its own");
        let mut server = Self {
            running: None,
            dir: dir.join("postgres"),
            log: dir.join("postgres.stderr"),
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            tls,
            url: String::new(),
            frozen: false,
        };
        server.url = server.spawn("0");
        server
    }

    /// The URL of the database `postgres`, as superuser.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL of another database or as another user.
    pub(crate) fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/{database}",
            self.port()
        )
    }

    /// The port on 127.0.0.1; it stays the same for the life of this value.
    pub(crate) fn port(&self) -> &str {
        let (_, place) = self.url.rsplit_once(':').expect("the URL names the port");
        place
            .split('/')
            .next()
            .expect("a split gives one part at least")
    }

    /// What `text` selects, with `|` between columns. Panics if the server refuses it.
    pub(crate) fn sql(&self, text: &str) -> String {
        let output = Command::new("psql")
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text, &self.url])
            .env("PGCONNECT_TIMEOUT", PATIENCE.as_secs().to_string())
            .stdin(Stdio::null())
            .output()
            .expect("psql is installed with PostgreSQL");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql: {text}: {said}");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// How many statements the server has carried out whose text is `LIKE` this, for all users and
    /// databases. Constants in the text are `$1`, `$2` and so on.
    pub(crate) fn statements(&self, like: &str) -> u64 {
        let like = like.replace('\'', "''");
        // Not this question itself, in case that it is LIKE what it asks for.
        let count = self.sql(&format!(
            "select coalesce(sum(calls), 0) from pg_stat_statements \
             where query like '{like}' and query not like '%pg_stat_statements%'"
        ));
        count.parse().expect("a sum of counts is a number")
    }

    /// Ends it in order, as a restart by its operator does: connections end with a message.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::SIGINT);
    }

    /// Ends it at once, as a crash does: nothing is written, and the next start has to recover.
    ///
    /// What was committed before stays, although this server writes its log only now and then.
    pub(crate) fn crash(&mut self) {
        self.sql("checkpoint");
        self.end(Signal::SIGQUIT);
    }

    /// Freezes it: connections stay and new ones are taken by the kernel, but nothing answers.
    pub(crate) fn pause(&mut self) {
        self.frozen = true;
        // First the one that starts the others, so that none is missed.
        let server = self.server();
        send(server, Signal::SIGSTOP);
        for child in children(server) {
            send(child, Signal::SIGSTOP);
        }
    }

    /// Undoes [`Postgres::pause`], [`Postgres::stop`] or [`Postgres::crash`].
    pub(crate) fn resume(&mut self) {
        if self.frozen {
            self.frozen = false;
            let server = self.server();
            for child in children(server) {
                send(child, Signal::SIGCONT);
            }
            send(server, Signal::SIGCONT);
        } else {
            let port = self.port().to_owned();
            let url = self.spawn(&port);
            assert_eq!(url, self.url, "the port was asked for");
        }
    }

    /// Starts the script, and gives the URL that it prints.
    fn spawn(&mut self, port: &str) -> String {
        assert!(self.running.is_none(), "the server runs already");
        let mut command = Command::new(SCRIPT);
        command.args(["--until-eof", "--port", port, "--password", PASSWORD]);
        command.arg("--dir").arg(&self.dir);
        if let Some(Tls { cert, key }) = &self.tls {
            command.arg("--tls-cert").arg(cert);
            command.arg("--tls-key").arg(key);
        }
        command.arg("--");
        command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        let mut script = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&self.log).expect("the test's folder is writable"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {SCRIPT}: {error}"));
        let stdin = script.stdin.take().expect("it is piped");
        let stdout = script.stdout.take().expect("it is piped");
        self.running = Some((script, stdin));
        let url = in_time("PostgreSQL starts", move || {
            let mut url = String::new();
            // The end without a line is told by the line that is missing.
            let _bytes = BufReader::new(stdout).read_line(&mut url);
            url.trim_end().to_owned()
        });
        assert!(
            !url.is_empty(),
            "PostgreSQL does not start: {}",
            self.said()
        );
        url
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends the signal to the server itself, and returns once the script has seen it end.
    fn end(&mut self, signal: Signal) {
        assert!(
            !self.frozen,
            "a frozen server takes no signals: resume it first"
        );
        send(self.server(), signal);
        // The pipe stays open: the data stays only if the server ends first.
        let (mut script, stdin) = self.running.take().expect("the server runs");
        in_time("PostgreSQL ends", move || script.wait()).expect("it was started by this process");
        drop(stdin);
    }

    /// The first process of the server, whose children are the others.
    pub(crate) fn server(&self) -> Pid {
        let file = std::fs::read_to_string(self.dir.join("data/postmaster.pid"));
        let file = file.unwrap_or_else(|error| panic!("the server does not run: {error}"));
        let pid = file.lines().next().and_then(|line| line.parse().ok());
        Pid::from_raw(pid.expect("PostgreSQL writes its pid first"))
    }
}

fn send(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        // A connection may have ended since its process was listed.
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(error) => panic!("{signal} to {pid}: {error}"),
    }
}

fn children(of: Pid) -> Vec<Pid> {
    let pid = |id: i32| Pid::from_raw(id);
    let ids = proc::children(of.as_raw().unsigned_abs());
    let ids = ids
        .into_iter()
        .map(|id| i32::try_from(id).expect("a pid fits"));
    ids.map(pid).collect()
}

/// What `work` gives; panics after [`PATIENCE`] with `claim`. The thread is lost then, and ends with
/// the test.
fn in_time<T: Send + 'static>(claim: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || tx.send(work()));
    rx.recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {claim}"))
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A server that was frozen is woken by the script.
        if let Some((mut script, stdin)) = self.running.take() {
            if std::thread::panicking() {
                show(&self.said(), &self.dir.join("log"));
            }
            drop(stdin);
            let _reaped = script.wait();
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shown by the test runner with the failure"
)]
fn show(said: &str, log: &Path) {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    eprintln!("--- PostgreSQL ---\n{said}{log}");
}
