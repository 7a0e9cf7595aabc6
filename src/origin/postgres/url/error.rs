//! What can be wrong with a URL. No error shows any part of it but the name of a parameter.

/// The parameters that a URL may have, with libpq's names and meanings.
pub(super) const PARAMETERS: [&str; 19] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// A URL cannot be used as it is. Always the operator's to correct.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::origin::postgres) enum UrlError {
    /// Another scheme, or none.
    #[error("the url does not begin with postgres:// or postgresql://")]
    Scheme,
    /// An `@` that does not end the user's part, so a character before it was not escaped.
    #[error(
        "the only @ of the url stands before the host: in the user, the password and the parameters \
         write %40 for @, %2F for /, %3F for ? and %3A for :"
    )]
    StrayAt,
    /// `%` without two hexadecimal digits, a zero byte, or text that is not UTF-8.
    #[error("{part} is not percent-encoded text: write %25 for %")]
    Encoding {
        /// Which part of the URL.
        part: &'static str,
    },
    /// No host, or an empty one in the list.
    #[error("a host is missing: the url needs one before the / of the database, or as host=")]
    NoHost,
    /// Brackets that do not enclose an address.
    #[error("host {number} of the url is not a name, an address or an [IPv6 address]")]
    BadHost {
        /// Which one, counted from 1.
        number: usize,
    },
    /// Not a port.
    #[error("the port of host {number} is not a number from 1 to 65535")]
    BadPort {
        /// Which one, counted from 1.
        number: usize,
    },
    /// Lists that do not fit together.
    #[error("{name} has {given} entries for {hosts} hosts")]
    Count {
        /// The parameter with the wrong number of entries.
        name: &'static str,
        /// How many it has.
        given: usize,
        /// How many it should have.
        hosts: usize,
    },
    /// A parameter without a value.
    #[error("a parameter of the url has no =")]
    NotPair,
    /// A parameter that we do not know or cannot honour.
    #[error("the url has the parameter {name:?}, which is none of {}", PARAMETERS.join(", "))]
    Unknown {
        /// Its name, or `***` if it may be a part of the password.
        name: String,
    },
    /// A parameter that is there twice, or as a part of the URL and as a parameter.
    #[error("the url gives {name} twice")]
    Twice {
        /// Its name.
        name: &'static str,
    },
    /// A value that a parameter cannot have.
    #[error("{name} must be {expects}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it takes.
        expects: &'static str,
    },
    /// `sslmode=allow`.
    #[error(
        "sslmode=allow, which encrypts only where it must, is not supported: use prefer to encrypt \
         where possible, or require, verify-ca or verify-full to encrypt always"
    )]
    Allow,
    /// `sslrootcert` with a mode that believes everybody.
    #[error("sslrootcert needs sslmode=require, verify-ca or verify-full: nothing else verifies")]
    RootUnused,
    /// The system's authorities certify anybody's server, so only its name distinguishes it.
    #[error("sslrootcert=system needs sslmode=verify-full")]
    SystemNeedsName,
    /// A mode that demands TLS on a Unix socket, where PostgreSQL has none.
    #[error("a unix socket has no tls: use sslmode=prefer or disable")]
    TlsOnSocket,
}
