//! One `gcache` process: started, signalled, waited for, and killed with the test that started it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::until;

/// A command line, before it runs.
pub(crate) struct Start<'a> {
    /// What the process is called in failures, and its output files.
    pub(crate) name: &'a str,
    /// Where its output goes; also its working directory.
    pub(crate) dir: &'a Path,
    /// Beside these the environment is empty.
    pub(crate) env: &'a [(&'a str, &'a str)],
}

/// A process of this test. Killed when dropped; its log is shown if the test is failing.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Start<'_> {
    /// Starts `gcache` with `args`.
    pub(crate) fn gcache<S: AsRef<OsStr>>(&self, args: &[S]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gcache"));
        command.args(args);
        self.spawn(command)
    }

    /// Starts `command` in this place.
    pub(crate) fn spawn(&self, mut command: Command) -> Process {
        let (out, stdout) = self.output("stdout");
        let (err, stderr) = self.output("stderr");
        let child = command
            .current_dir(self.dir)
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .envs(self.env.iter().copied())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name));
        Process {
            name: self.name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    /// A file of its own for each start: a name that is started again keeps what it said before.
    fn output(&self, ending: &str) -> (File, PathBuf) {
        (1..)
            .find_map(|start| {
                let path = self.dir.join(format!("{}.{start}.{ending}", self.name));
                match File::create_new(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                    file => Some((file.expect("the test's folder is writable"), path)),
                }
            })
            .expect("a free number")
    }
}

impl Process {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it has written to stdout so far, as text.
    pub(crate) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to stderr so far, as text.
    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// The most memory it has had resident so far.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.child.id())));
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("Linux tells the peak of a process") << 10
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"));
        kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Ends it as a crash would, and returns once it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was started by this process");
        self.child.wait().expect("it was started by this process");
    }

    /// None while it runs.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("it was started by this process")
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Ended {
        let claim = format!("{} ends", self.name);
        let status = until(&claim, async || self.status().ok_or_else(|| self.stderr())).await;
        Ended {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("the test's folder is readable");
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            show(&self.name, &self.stderr());
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "shown by the test runner with the failure"
)]
fn show(name: &str, log: &str) {
    eprintln!("--- stderr of {name} ---\n{log}");
}
