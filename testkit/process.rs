//! One process: started, signalled, waited for, and ended with its handle.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::proc;
use super::wait::{pause, until};

/// The executable that is tested or measured.
pub(crate) const GCACHE: &str = env!("CARGO_BIN_EXE_gcache");

/// The commit of the oldest release that present nodes must live with.
const OLDEST_RELEASE: &str = include_str!("../tests/data/oldest-release");

/// The executable of that release. It panics where it was not built.
pub(crate) fn oldest_release() -> PathBuf {
    let target = Path::new(GCACHE).ancestors().nth(2);
    let folder = target
        .expect("it is in a folder of the target folder")
        .join("oldest-release");
    let executable = folder.join(OLDEST_RELEASE.trim()).join("gcache");
    assert!(
        executable.exists(),
        "{} is missing: `just oldest-release` builds it",
        executable.display()
    );
    executable
}

/// How long a process may take to end once its handle has asked it to.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at whether it has.
const END_POLL: Duration = Duration::from_millis(10);

/// What a process does not outlive, beside its handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Bond {
    /// The process group of this program, which is ended as a whole: by Ctrl-C, or by who runs the tests.
    #[default]
    Group,
    /// The thread that started it, whose end sends it this signal. It has a group of its own: Ctrl-C is for this
    /// program, which ends the others in its own order.
    Thread(Signal),
}

impl Bond {
    /// The command line that runs `program` with this bond, without arguments of the program.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Group => Command::new(program),
            Self::Thread(signal) => {
                let name = signal.as_str().trim_start_matches("SIG");
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", name, "--"]).arg(program);
                command
            }
        }
    }
}

/// A command line, before it runs.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    name: &'a str,
    dir: &'a Path,
    env: &'a [(&'a str, &'a str)],
    bond: Bond,
}

/// A process. It is ended when this is dropped; its log is shown if a test is failing.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    bond: Bond,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl<'a> Start<'a> {
    /// A process that is called `name` in failures, and so are its output files in `dir`, which is also its
    /// working directory. Its environment is empty.
    pub(crate) fn new(name: &'a str, dir: &'a Path) -> Self {
        Self {
            name,
            dir,
            env: &[],
            bond: Bond::default(),
        }
    }

    /// With these variables as its environment.
    pub(crate) fn env(self, env: &'a [(&'a str, &'a str)]) -> Self {
        Self { env, ..self }
    }

    /// With this bond.
    pub(crate) fn bond(self, bond: Bond) -> Self {
        Self { bond, ..self }
    }

    /// Starts `gcache` with `args`.
    pub(crate) fn gcache<S: AsRef<OsStr>>(&self, args: &[S]) -> Process {
        self.program(GCACHE, args)
    }

    /// Starts `program` with `args`.
    pub(crate) fn program<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: &[S],
    ) -> Process {
        let mut command = self.bond.command(program);
        command.args(args);
        self.spawn(command)
    }

    /// Starts `command`, which [`Bond::command`] has made or which runs such a one. It panics where the program is
    /// missing or cannot be run.
    pub(crate) fn spawn(&self, mut command: Command) -> Process {
        let (out, stdout) = self.output("stdout");
        let (err, stderr) = self.output("stderr");
        if self.bond != Bond::Group {
            command.process_group(0);
        }
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
            bond: self.bond,
        }
    }

    /// A file of its own for each start: a name that is started again keeps what it said before.
    fn output(&self, ending: &str) -> (File, PathBuf) {
        (1..)
            .find_map(|start| {
                let path = self.dir.join(format!("{}.{start}.{ending}", self.name));
                match File::create_new(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                    file => Some((file.expect("the folder is writable"), path)),
                }
            })
            .expect("a free number")
    }
}

impl Process {
    /// What it is called in failures.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its id, as the kernel has it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far, as text.
    pub(crate) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to stderr so far, as text.
    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// The processor time that it and the children it has now have used so far; none of one that has ended.
    pub(crate) fn cpu(&self) -> Duration {
        proc::used_with_children(self.id())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.try_signal(signal)
            .unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    fn try_signal(&self, signal: Signal) -> nix::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.id()).expect("a pid fits"));
        kill(pid, signal)
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
    let bytes = std::fs::read(path).expect("the folder is readable");
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Process {
    fn drop(&mut self) {
        // Some servers end their children only when they are asked to end.
        if let Bond::Thread(signal) = self.bond
            && signal != Signal::SIGKILL
        {
            // It may have ended by itself: then there is nobody to ask, and nothing to kill below.
            let _asked = self.try_signal(signal);
            let began = Instant::now();
            while self.status().is_none() && began.elapsed() < END_PATIENCE {
                pause(END_POLL);
            }
        }
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            show(&self.name, &self.stderr());
        }
    }
}

#[expect(clippy::print_stderr, reason = "shown with the failure")]
fn show(name: &str, log: &str) {
    eprintln!("--- stderr of {name} ---\n{log}");
}
