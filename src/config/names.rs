//! The kinds of text that settings hold: process names, zones, log formats, origin URLs, paths.
//!
//! Pure: a path is not opened and a host name not resolved; that is the business of the roles.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::redact::redact;
use super::rule::Text;
use crate::topology::model::rules::is_name;

/// Ids and zones with this beginning name a source; those we do not know are mistakes, not names.
const SOURCE_PREFIX: &str = "from-";

/// Where a process takes its name from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessId {
    /// The machine's host name, which must pass [`is_name`].
    FromHostname,
    /// The id of the ECS task, from its metadata.
    FromTaskMetadata,
    /// This name.
    Literal(String),
}

/// Where a process takes its address from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The container's own address in the network of its ECS task, from its metadata.
    FromTaskMetadata,
    /// This address.
    Literal(IpAddr),
}

/// Where a process takes its zone from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessZone {
    /// From the task's metadata if the name or the address comes from there, else [`DEFAULT_ZONE`].
    Unset,
    /// The zone of the ECS task, from its metadata.
    FromTaskMetadata,
    /// This zone.
    Literal(String),
}

/// The zone of a process that was given none.
pub const DEFAULT_ZONE: &str = "default";

/// How a setting says that its value comes from the metadata of the ECS task.
const FROM_TASK: &str = "from-task-metadata";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginUrl {
    /// The embedded origin, with rows from this file.
    Memory(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
}

impl OriginUrl {
    /// What an origin is written as.
    pub const EXPECTED: &str = "\"memory:FILE\", \"postgres://…\" or \"postgresql://…\"";

    /// Reads an origin; `None` if it is not [`OriginUrl::EXPECTED`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains('\0') {
            return None;
        }
        match text.split_once(':')? {
            ("memory", file) if !file.is_empty() => Some(Self::Memory(PathBuf::from(file))),
            ("postgres" | "postgresql", rest) if rest.len() > 2 && rest.starts_with("//") => {
                Some(Self::Postgres(PostgresUrl(text.to_owned())))
            }
            _ => None,
        }
    }
}

/// A `postgres://` URL. `Debug` and `Display` hide its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// The URL with its credentials: for the database driver only, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({:?})", redact(&self.0))
    }
}

/// A process's name or where to take it from.
pub(super) const PROCESS_ID: Text<ProcessId> = Text {
    expects: "\"from-hostname\", \"from-task-metadata\", or a name of 1 to 63 of a-z 0-9 . - with a \
              letter or digit at both ends that does not begin with \"from-\"",
    read: |text| match text {
        "from-hostname" => Some(ProcessId::FromHostname),
        FROM_TASK => Some(ProcessId::FromTaskMetadata),
        _ if text.starts_with(SOURCE_PREFIX) || !is_name(text) => None,
        _ => Some(ProcessId::Literal(text.to_owned())),
    },
    write: |id| match id {
        ProcessId::FromHostname => "from-hostname".to_owned(),
        ProcessId::FromTaskMetadata => FROM_TASK.to_owned(),
        ProcessId::Literal(name) => name.clone(),
    },
};

/// An IP address to bind to, or where to take it from.
pub(super) const HOST: Text<Host> = Text {
    expects: "an IP address such as \"127.0.0.1\" or \"::1\", or \"from-task-metadata\"",
    read: |text| match text {
        FROM_TASK => Some(Host::FromTaskMetadata),
        text => text.parse().ok().map(Host::Literal),
    },
    write: |host| match host {
        Host::FromTaskMetadata => FROM_TASK.to_owned(),
        Host::Literal(address) => address.to_string(),
    },
};

/// The address in `text`, as `process.host` has it.
///
/// # Errors
/// What would be right.
pub fn read_host(text: &str) -> Result<Host, &'static str> {
    (HOST.read)(text).ok_or(HOST.expects)
}

/// A process's zone or where to take it from.
pub(super) const PROCESS_ZONE: Text<ProcessZone> = Text {
    expects: "\"from-task-metadata\", a name of 1 to 63 of a-z 0-9 . - with a letter or digit at both \
              ends that does not begin with \"from-\", or \"\" for none",
    read: |text| match text {
        "" => Some(ProcessZone::Unset),
        FROM_TASK => Some(ProcessZone::FromTaskMetadata),
        _ if text.starts_with(SOURCE_PREFIX) || !is_name(text) => None,
        _ => Some(ProcessZone::Literal(text.to_owned())),
    },
    write: |zone| match zone {
        ProcessZone::Unset => String::new(),
        ProcessZone::FromTaskMetadata => FROM_TASK.to_owned(),
        ProcessZone::Literal(name) => name.clone(),
    },
};

/// The name of a database user, or none.
pub(super) const OPTIONAL_USER: Text<Option<String>> = Text {
    expects: "the name of a user, or \"\" for none",
    read: |text| (!text.contains('\0')).then(|| (!text.is_empty()).then(|| text.to_owned())),
    write: |user| user.clone().unwrap_or_default(),
};

/// A filter for log lines. Only its presence is checked: its grammar belongs to `telemetry`.
pub(super) const LOG_FILTER: Text<String> = Text {
    expects: "a filter such as \"info\" or \"info,gcache::raft=debug\"",
    read: |text| (!text.trim().is_empty()).then(|| text.to_owned()),
    write: String::clone,
};

/// How log lines look.
pub(super) const LOG_FORMAT: Text<LogFormat> = Text {
    expects: "\"text\" or \"json\"",
    read: |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    },
    write: |format| match format {
        LogFormat::Text => "text".to_owned(),
        LogFormat::Json => "json".to_owned(),
    },
};

/// A file, or none.
pub(super) const OPTIONAL_FILE: Text<Option<PathBuf>> = Text {
    expects: "the path of a file, or \"\" for none",
    read: |text| (!text.contains('\0')).then(|| (!text.is_empty()).then(|| PathBuf::from(text))),
    write: |path| path.as_deref().map(path_text).unwrap_or_default(),
};

/// Where nodes may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// An IP address or a DNS name.
    pub host: String,
    /// The port of gRPC.
    pub port: u16,
}

/// The port of a seed that names none.
const SEED_PORT: u16 = 8001;

/// The most seeds that make sense: they are asked one after the other.
const MAX_SEEDS: usize = 64;

/// Where nodes may be found, or nowhere.
pub(super) const SEEDS: Text<Vec<Seed>> = Text {
    expects: "at most 64 of HOST or HOST:PORT between commas, or \"\" for none",
    read: |text| {
        let seeds: Option<Vec<_>> = match text {
            "" => Some(Vec::new()),
            text => text.split(',').map(|seed| read_seed(seed.trim())).collect(),
        };
        seeds.filter(|seeds| seeds.len() <= MAX_SEEDS)
    },
    write: |seeds| {
        let each: Vec<_> = seeds.iter().map(Seed::to_string).collect();
        each.join(",")
    },
};

/// The seeds in `text`, as `cluster.seeds` has them; what would be right if there are none.
///
/// # Errors
/// What would be right.
pub fn read_seeds(text: &str) -> Result<Vec<Seed>, &'static str> {
    let seeds = (SEEDS.read)(text).filter(|seeds| !seeds.is_empty());
    seeds.ok_or("HOST or HOST:PORT of a few nodes, between commas")
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn read_seed(text: &str) -> Option<Seed> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    let port = port.map_or(Some(SEED_PORT), |port| port.parse().ok())?;
    let is_right = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_plain) && port > 0;
    is_right.then(|| Seed {
        host: host.to_owned(),
        port,
    })
}

/// A directory, or none.
pub(super) const OPTIONAL_DIRECTORY: Text<Option<PathBuf>> = Text {
    expects: "the path of a directory, or \"\" for none",
    ..OPTIONAL_FILE
};

/// Where the rows come from, or nothing yet.
pub(super) const OPTIONAL_ORIGIN: Text<Option<OriginUrl>> = Text {
    expects: "\"memory:FILE\", \"postgres://…\" or \"postgresql://…\", or \"\" for none",
    read: |text| {
        if text.is_empty() {
            return Some(None);
        }
        OriginUrl::parse(text).map(Some)
    },
    write: |url| match url {
        None => String::new(),
        Some(OriginUrl::Memory(file)) => format!("memory:{}", path_text(file)),
        Some(OriginUrl::Postgres(url)) => url.to_string(),
    },
};

/// A path that was made from text, as text.
fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_a_directory_and_nothing_else() {
        for name in ["a", "node-1", "ip-10-0-0-1.ec2.internal", "eu-west-1a", "0"] {
            assert!(is_name(name), "{name}");
        }
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "-a",
            "a-",
            "a.",
            "A",
            "a_b",
            "é",
            &"a".repeat(64),
        ] {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn a_mistyped_source_of_the_id_is_not_taken_for_a_name() {
        assert_eq!(
            (PROCESS_ID.read)("from-hostname"),
            Some(ProcessId::FromHostname)
        );
        assert_eq!((PROCESS_ID.read)("from-hostnam"), None);
        assert_eq!(
            (PROCESS_ID.read)("from-task-metadata"),
            Some(ProcessId::FromTaskMetadata)
        );
        assert_eq!(
            (HOST.read)("from-task-metadata"),
            Some(Host::FromTaskMetadata)
        );
        assert_eq!((HOST.read)("from-hostname"), None);
        assert_eq!(
            (PROCESS_ZONE.read)("from-task-metadata"),
            Some(ProcessZone::FromTaskMetadata)
        );
        assert_eq!((PROCESS_ZONE.read)("from-task"), None);
        assert_eq!((PROCESS_ZONE.read)(""), Some(ProcessZone::Unset));
        assert_eq!(
            (PROCESS_ID.read)("n1"),
            Some(ProcessId::Literal("n1".to_owned()))
        );
    }

    #[test]
    fn an_origin_is_a_file_or_a_postgres_url() {
        let read = OPTIONAL_ORIGIN.read;
        assert_eq!(read(""), Some(None));
        assert_eq!(
            read("memory:a:b.csv"),
            Some(Some(OriginUrl::Memory("a:b.csv".into())))
        );
        for text in ["postgres://h/db", "postgresql://u:p@h/db"] {
            assert!(
                matches!(read(text), Some(Some(OriginUrl::Postgres(_)))),
                "{text}"
            );
        }
        for text in [
            "memory:",
            "mysql://h/db",
            "postgres:h",
            "postgres://",
            "rows.csv",
            "memory:a\0",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_driver_sees_the_password() {
        let Some(Some(OriginUrl::Postgres(url))) =
            (OPTIONAL_ORIGIN.read)("postgres://u:secret@h/d")
        else {
            panic!("a good url was refused");
        };
        assert_eq!(url.expose(), "postgres://u:secret@h/d");
        assert!(!format!("{url} {url:?}").contains("secret"));
    }
}
