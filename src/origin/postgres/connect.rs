//! Connections to PostgreSQL: a pool that opens them with TLS, credentials and the session's settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{OpenError, of_pool};
use super::tls;
use super::url::Address;
use crate::cache::LoadError;
use crate::config;

/// A password is not longer; a wrong path may be anything.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// What makes every transaction of a connection read-only unless it says otherwise.
const READ_ONLY_OPTION: &str = "-c default_transaction_read_only=on";

/// Opens connections and keeps idle ones.
pub(super) struct Connections {
    pool: Pool,
    /// How many are opened before any is needed.
    initial: usize,
}

/// A password that may change while the process runs.
struct PasswordFile {
    path: PathBuf,
    /// As of the last time that the file could be read.
    last: Mutex<Vec<u8>>,
}

/// One connection while it is used. Given back to the pool when dropped, unless it was given up.
pub(super) struct Connection {
    object: Option<Object>,
    given_up: AtomicBool,
}

impl Connections {
    /// A pool within the bounds of `section`, whose statements end after `statement_timeout`.
    ///
    /// # Errors
    /// A certificate or password file that cannot be used.
    pub(super) fn new(
        address: Address,
        section: &config::Origin,
        statement_timeout: Duration,
    ) -> Result<Self, OpenError> {
        let tls = tls::connector(&address.tls).map_err(|error| OpenError(error.to_string()))?;
        let mut config = address.config;
        if let Some(user) = &section.user {
            config.user(user);
        }
        if let Some(password) = &section.password {
            config.password(password.expose());
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(section.connect_timeout);
        }
        if section.read_only {
            // From the first moment and by the server itself: not even a pooler between us that loses
            // what a session sets can make it otherwise.
            let given = config.get_options().unwrap_or_default();
            let options = format!("{given} {READ_ONLY_OPTION}");
            config.options(options.trim_start());
        }
        let password = section.password_file.clone().map(PasswordFile::open);
        let dialer = Dialer {
            tls,
            password: password.transpose().map_err(OpenError)?.map(Arc::new),
            session: session(statement_timeout).into(),
        };
        let manager = Manager::from_connect(
            config,
            dialer,
            ManagerConfig {
                // A connection that the server closed is known to be closed without asking.
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(section.max_connections)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                // Lanes ask for no more than there are; what waits here waits for a close to end.
                wait: Some(section.connect_timeout),
                create: Some(section.connect_timeout),
                recycle: Some(section.connect_timeout),
            })
            .build()
            .map_err(|error| OpenError(error.to_string()))?;
        Ok(Self {
            pool,
            initial: section.initial_connections.min(section.max_connections),
        })
    }

    /// Opens the first connections, all at once, and keeps them idle. Those that are opened stay open if the
    /// call is dropped, or if another one fails.
    ///
    /// # Errors
    /// That of one that was not opened.
    pub(super) async fn prepare(&self) -> Result<(), LoadError> {
        // Each is held until all are there: an idle one would be given out twice.
        let opened = join_all((0..self.initial).map(|_| self.connection())).await;
        opened
            .into_iter()
            .try_for_each(|connection| connection.map(drop))
    }

    /// An idle connection, or a new one.
    ///
    /// # Errors
    /// [`LoadErrorKind::Unavailable`](crate::cache::LoadErrorKind), with the reason.
    pub(super) async fn connection(&self) -> Result<Connection, LoadError> {
        let object = self.pool.get().await.map_err(|error| of_pool(&error))?;
        Ok(Connection {
            object: Some(object),
            given_up: AtomicBool::new(false),
        })
    }

    /// Returns how many connections there are, idle ones included.
    pub(super) fn open(&self) -> usize {
        self.pool.status().size
    }
}

/// Returns what every session begins with: values print the same whatever the server's defaults are, a
/// statement ends by itself, and nothing can be written.
fn session(statement_timeout: Duration) -> String {
    format!(
        "SET statement_timeout = {}; SET default_transaction_read_only = on; \
         SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; \
         SET extra_float_digits = 1",
        statement_timeout.as_millis().max(1)
    )
}

impl PasswordFile {
    fn open(path: PathBuf) -> Result<Self, String> {
        let last = Mutex::new(read(&path)?);
        Ok(Self { path, last })
    }

    /// Returns what the file holds now, or held when it could last be read: a file that is replaced may be
    /// away for a moment.
    fn password(&self) -> Vec<u8> {
        match read(&self.path) {
            Ok(password) => self.last.lock().clone_from(&password),
            Err(error) => tracing::warn!(%error, "password not read again, using the last one"),
        }
        self.last.lock().clone()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let about = |reason: String| format!("origin.password_file: {}: {reason}", path.display());
    let size = std::fs::metadata(path)
        .map_err(|error| about(error.to_string()))?
        .len();
    if size > MAX_PASSWORD_BYTES {
        return Err(about(format!(
            "{size} bytes; a password has up to {MAX_PASSWORD_BYTES}"
        )));
    }
    let mut text = std::fs::read(path).map_err(|error| about(error.to_string()))?;
    while text
        .last()
        .is_some_and(|last| matches!(last, b'\n' | b'\r'))
    {
        text.pop();
    }
    Ok(text)
}

/// Opens one connection for the pool.
struct Dialer {
    tls: MakeRustlsConnect,
    /// Read here and not where the pool is asked: only here it is known that a connection is new.
    password: Option<Arc<PasswordFile>>,
    session: Arc<str>,
}

impl Connect for Dialer {
    fn connect(
        &self,
        config: &Config,
    ) -> futures_util::future::BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>>
    {
        let mut config = config.clone();
        let (tls, session) = (self.tls.clone(), Arc::clone(&self.session));
        let file = self.password.clone();
        Box::pin(async move {
            if let Some(file) = file {
                let read = tokio::task::spawn_blocking(move || file.password());
                // Fails only where the process ends.
                if let Ok(password) = read.await {
                    config.password(password);
                }
            }
            let (client, connection) = config.connect(tls).await?;
            // Ends when its client is dropped or the server closes it.
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection to PostgreSQL lost");
                }
            });
            client.batch_execute(&session).await?;
            Ok((client, driver))
        })
    }
}

impl Connection {
    /// The connection. Several statements may be in flight on it.
    pub(super) fn client(&self) -> &Object {
        self.object
            .as_ref()
            .expect("taken only when the connection is dropped")
    }

    /// Keeps the connection from going back to the pool.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Gives the connection up if it is closed; says whether it is.
    pub(super) fn give_up_if_closed(&self) -> bool {
        let is_closed = self.client().is_closed();
        if is_closed {
            self.give_up();
        }
        is_closed
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.given_up.load(Ordering::Relaxed)
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}
