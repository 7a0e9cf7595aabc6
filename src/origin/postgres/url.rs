//! Reads the URL of a PostgreSQL server: where it is, who we are, and how far TLS must be trusted.
//!
//! Pure: no file is opened and no name resolved. Called once, when the origin is opened. The driver's
//! own parser is not used: it knows neither `sslmode=verify-full` nor `sslrootcert`, takes the last of
//! two equal parameters in silence, and looks for the password up to the first `@` of the whole text.
//!
//! No error shows any part of the URL but the name of a parameter, for a mistyped URL is one whose
//! password may stand anywhere.

mod error;
mod parts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_postgres::Config;
use tokio_postgres::config::{self, ChannelBinding, Host, LoadBalanceHosts, TargetSessionAttrs};

use self::error::PARAMETERS;
pub(super) use self::error::UrlError;
use self::parts::Parts;

/// What PostgreSQL shows for our connections, unless the URL says otherwise.
const APPLICATION_NAME: &str = "gcache";

/// A server that is gone without a word is noticed on an idle connection after this long and a few
/// probes, instead of Linux' two hours, and before most firewalls forget the connection.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);

/// The same for a connection with unacknowledged data, instead of a quarter of an hour.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server is and how to connect to it. `Debug` and [`Address::describe`] hide credentials.
#[derive(Clone)]
pub(super) struct Address {
    /// For the driver. `connect_timeout` is set only if the URL has one.
    pub(super) config: Config,
    /// What `config` cannot say about TLS.
    pub(super) tls: Tls,
}

/// How far TLS must be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    /// What is demanded of the server.
    pub(super) mode: SslMode,
    /// The authorities that vouch for the server. Always there for `VerifyCa` and `VerifyFull`, possibly for
    /// `Require`, which then verifies as `VerifyCa` does, and never for the others.
    pub(super) root: Option<Root>,
}

/// libpq's `sslmode`, without `allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server is able to: no protection from anybody who can change what we receive.
    Prefer,
    /// Always encrypted, with any server that answers.
    Require,
    /// Always encrypted, with a server that our authorities have certified under any name.
    VerifyCa,
    /// Always encrypted, with the server whose name or IP address the URL has.
    VerifyFull,
}

/// Which certificate authorities are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// Those of this machine.
    System,
    /// Those in this PEM file.
    File(PathBuf),
}

/// Reads `url`: `postgres://user:password@host:port,host2/database?parameter=value&…`, every part
/// percent-encoded, every part but a host optional, as libpq reads it. A socket's directory is a host
/// (`%2Fvar%2Frun%2Fpostgresql`).
///
/// As in libpq the database is by default the user's name, and the user that of the process.
/// Where it departs from libpq, it refuses rather than guesses: see [`UrlError`].
///
/// # Errors
/// What is wrong with the URL, without showing its credentials.
pub(super) fn parse(url: &str) -> Result<Address, UrlError> {
    let mut parts = parts::split(url)?;
    let tls = tls(
        parts.take("sslmode")?.as_deref(),
        parts.take("sslrootcert")?,
    )?;
    let mut config = Config::new();
    config
        .application_name(APPLICATION_NAME)
        .keepalives_idle(KEEPALIVES_IDLE)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .ssl_mode(match tls.mode {
            SslMode::Disable => config::SslMode::Disable,
            SslMode::Prefer => config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => config::SslMode::Require,
        });
    hosts(&mut config, &mut parts, &tls)?;
    if let Some(password) = parts.take_bytes("password") {
        config.password(password);
    }
    for name in PARAMETERS {
        if let Some(value) = parts.take(name)? {
            set(&mut config, name, &value)?;
        }
    }
    Ok(Address { config, tls })
}

impl Address {
    /// The URL as an operator may see it: hosts, ports and database.
    pub(super) fn describe(&self) -> String {
        const SHOWN: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'.')
            .remove(b'_')
            .remove(b'~');
        let ports = self.config.get_ports();
        let hosts = self
            .config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(at, host)| {
                let port = ports.get(at).or(ports.first()).unwrap_or(&parts::PORT);
                match host {
                    Host::Tcp(name) => match name.parse() {
                        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
                        _ => format!("{}:{port}", utf8_percent_encode(name, SHOWN)),
                    },
                    Host::Unix(path) => {
                        let path = path.to_string_lossy();
                        format!("{}:{port}", utf8_percent_encode(&path, SHOWN))
                    }
                }
            });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        match self.config.get_dbname() {
            Some(database) => {
                let database = utf8_percent_encode(database, SHOWN);
                format!("postgres://{hosts}/{database}")
            }
            None => format!("postgres://{hosts}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({} {:?})", self.describe(), self.tls)
    }
}

/// Returns what `sslmode` and `sslrootcert` mean together.
fn tls(mode: Option<&str>, root: Option<String>) -> Result<Tls, UrlError> {
    let root = match root.as_deref() {
        None => None,
        Some("") => {
            return Err(UrlError::Value {
                name: "sslrootcert",
                expects: "the path of a PEM file, or system",
            });
        }
        Some("system") => Some(Root::System),
        Some(path) => Some(Root::File(PathBuf::from(path))),
    };
    let mode = match mode {
        // As in libpq 16.
        None if root == Some(Root::System) => SslMode::VerifyFull,
        None | Some("prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some("allow") => return Err(UrlError::Allow),
        Some(_) => {
            return Err(UrlError::Value {
                name: "sslmode",
                expects: "disable, prefer, require, verify-ca or verify-full",
            });
        }
    };
    let root = match (mode, root) {
        (SslMode::Disable | SslMode::Prefer, Some(_)) => return Err(UrlError::RootUnused),
        (SslMode::Require | SslMode::VerifyCa, Some(Root::System)) => {
            return Err(UrlError::SystemNeedsName);
        }
        (SslMode::VerifyCa | SslMode::VerifyFull, None) => Some(Root::System),
        (_, root) => root,
    };
    Ok(Tls { mode, root })
}

/// Sets the hosts with their ports and addresses.
fn hosts(config: &mut Config, parts: &mut Parts, tls: &Tls) -> Result<(), UrlError> {
    let (hosts, ports) = parts.take_hosts()?;
    let sockets = hosts.iter().any(|host| host.starts_with('/'));
    if sockets && !matches!(tls.mode, SslMode::Disable | SslMode::Prefer) {
        return Err(UrlError::TlsOnSocket);
    }
    for host in &hosts {
        config.host(host);
    }
    for port in ports {
        config.port(port);
    }
    let Some(list) = parts.take("hostaddr")? else {
        return Ok(());
    };
    let wrong = UrlError::Value {
        name: "hostaddr",
        expects: "a list of IP addresses, for hosts that are not unix sockets",
    };
    if sockets {
        return Err(wrong);
    }
    for address in list.split(',') {
        let Ok(address) = address.parse() else {
            return Err(wrong);
        };
        config.hostaddr(address);
    }
    let given = config.get_hostaddrs().len();
    if given != hosts.len() {
        return Err(UrlError::Count {
            name: "hostaddr",
            given,
            hosts: hosts.len(),
        });
    }
    Ok(())
}

/// Sets a parameter that concerns nothing but itself.
fn set(config: &mut Config, name: &'static str, value: &str) -> Result<(), UrlError> {
    let wrong = |expects| UrlError::Value { name, expects };
    let seconds = || match value.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err(wrong("a whole number of seconds above 0")),
    };
    match name {
        // Empty is absent, as in libpq.
        "user" | "dbname" if value.is_empty() => config,
        "user" => config.user(value),
        "dbname" => config.dbname(value),
        "application_name" => config.application_name(value),
        "options" => config.options(value),
        "connect_timeout" => config.connect_timeout(seconds()?),
        "keepalives" => config.keepalives(match value {
            "0" => false,
            "1" => true,
            _ => return Err(wrong("0 or 1")),
        }),
        "keepalives_idle" => config.keepalives_idle(seconds()?),
        "keepalives_interval" => config.keepalives_interval(seconds()?),
        "keepalives_count" => config.keepalives_retries(match value.parse() {
            Ok(count) if count > 0 => count,
            _ => return Err(wrong("a whole number above 0")),
        }),
        // Milliseconds as in libpq, where the driver's own parser takes seconds.
        "tcp_user_timeout" => config.tcp_user_timeout(match value.parse::<u32>() {
            Ok(wait_ms) => Duration::from_millis(wait_ms.into()),
            Err(_) => return Err(wrong("a whole number of milliseconds, 0 for the system's")),
        }),
        "channel_binding" => config.channel_binding(match value {
            "disable" => ChannelBinding::Disable,
            "prefer" => ChannelBinding::Prefer,
            "require" => ChannelBinding::Require,
            _ => return Err(wrong("disable, prefer or require")),
        }),
        "load_balance_hosts" => config.load_balance_hosts(match value {
            "disable" => LoadBalanceHosts::Disable,
            "random" => LoadBalanceHosts::Random,
            _ => return Err(wrong("disable or random")),
        }),
        "target_session_attrs" => config.target_session_attrs(match value {
            "any" => TargetSessionAttrs::Any,
            "read-write" => TargetSessionAttrs::ReadWrite,
            "read-only" => TargetSessionAttrs::ReadOnly,
            _ => return Err(wrong("any, read-write or read-only")),
        }),
        _ => unreachable!("every other parameter was taken before"),
    };
    Ok(())
}
