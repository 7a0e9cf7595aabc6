//! From a signal to a token that every task watches, and from the token to an empty house.
//!
//! A task that the process cannot do without is *critical*: it is [supervised](Shutdown::supervise), and if it ends
//! before it was asked to, by a return or a panic, the process stops with the reason.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Asks tasks to stop and waits for them. Clones are the same shutdown.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    process: Arc<Process>,
}

/// What all shutdowns of one process share.
#[derive(Debug, Default)]
struct Process {
    token: CancellationToken,
    failure: OnceLock<Failed>,
    #[cfg(test)]
    drill: parking_lot::Mutex<drill::Drill>,
}

/// Why the process stops by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The critical task.
    pub task: &'static str,
    /// How it ended.
    pub reason: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {}", self.task, self.reason)
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        let process = Arc::new(Process::default());
        Self {
            token: process.token.clone(),
            tasks: TaskTracker::new(),
            process,
        }
    }
}

impl Shutdown {
    /// One that nothing has asked for yet: that of a whole process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that this one also stops, but that is waited for alone: its maker finishes it.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            tasks: TaskTracker::new(),
            process: Arc::clone(&self.process),
        }
    }

    /// One that this one does not stop: its maker finishes it later. Its critical tasks are of the same process.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self {
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
            process: Arc::clone(&self.process),
        }
    }

    /// One that this one also stops, and that can be stopped alone; its tasks are waited for here.
    #[must_use]
    pub fn branch(&self) -> Self {
        Self {
            token: self.token.child_token(),
            ..self.clone()
        }
    }

    /// Asks every task to stop. Idempotent.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether [`Shutdown::begin`] was called, here or on a parent.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves once shutdown has begun. Cancel-safe.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Spawns a task that [`Shutdown::finish`] waits for. The process goes on without it, if it must.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Spawns a [critical](Self::supervise) task that [`Shutdown::finish`] waits for.
    pub fn spawn_critical<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(self.supervise(name, task));
    }

    /// The critical `task`, called `name` in words: if it ends by itself before this shutdown has begun, or ends by
    /// a panic, the whole process stops, and [`Shutdown::failure`] says why.
    pub fn supervise<F>(
        &self,
        name: &'static str,
        task: F,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (token, process) = (self.token.clone(), Arc::clone(&self.process));
        async move {
            #[cfg(test)]
            let task = drill::Drill::apply(&process.drill, name, task);
            let reason = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(()) if token.is_cancelled() => return,
                Ok(()) => "has ended".to_owned(),
                Err(panic) => format!("has panicked: {}", text(&*panic)),
            };
            process.fail(Failed { task: name, reason });
        }
    }

    /// Why the process stops by itself, if it does so because of a critical task: the first such reason.
    #[must_use]
    pub fn failure(&self) -> Option<Failed> {
        self.process.failure.get().cloned()
    }

    /// Begins if need be, then waits up to `grace` for the tasks. True if all ended in time.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.begin();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

impl Process {
    fn fail(&self, failed: Failed) {
        tracing::error!(
            task = failed.task,
            reason = failed.reason,
            "critical task ended"
        );
        // The first one counts: others may have ended because of it.
        let _later = self.failure.set(failed);
        self.token.cancel();
    }
}

/// What a panic says.
fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word")
}

/// Signals that come so soon after the first one are the same request: some supervisors send two at once.
pub const REPEAT_MAX: Duration = Duration::from_secs(1);

/// The signals that ask a process to stop, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    first: Option<Instant>,
}

impl Signals {
    /// Catches SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// If the process may not install signal handlers.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            first: None,
        })
    }

    /// Resolves with the name of the next signal, also if it came before the call. Those that repeat the first one,
    /// within [`REPEAT_MAX`], do not count.
    pub async fn next(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.terminate.recv() => "SIGTERM",
            };
            match self.first {
                Some(first) if first.elapsed() <= REPEAT_MAX => {}
                Some(_) => return name,
                None => {
                    self.first = Some(Instant::now());
                    return name;
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod drill;
