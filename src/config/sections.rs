//! The schema: every section and setting, each declared once with its type and its rule.
//!
//! From one declaration come the struct that consumers read, the list of known names, the checks
//! and the print-out, so that they cannot drift apart. The default and the explanation of each
//! setting stand in `config/default.toml`; a test holds it against this file.

use std::path::PathBuf;
use std::time::Duration;

use super::names::{
    HOST, Host, LOG_FILTER, LOG_FORMAT, LogFormat, OPTIONAL_DIRECTORY, OPTIONAL_FILE,
    OPTIONAL_ORIGIN, OPTIONAL_USER, OriginUrl, PROCESS_ID, PROCESS_ZONE, ProcessId, ProcessZone,
    SEEDS, Seed,
};
use super::rule::{Count, Either, Share, Size, Span, Switch};
use super::schema::{Key, Schema, Section};
use super::secret::{OptionalSecret, Secret};
use super::settings::Settings;
use super::value::ByteSize;

/// Declares sections: `/// doc` `Struct("section") { /// doc` `key: Type = rule; … }`.
macro_rules! sections {
    ($(
        $(#[$doc:meta])*
        $name:ident($section:literal) {
            $( $(#[$key_doc:meta])* $key:ident: $type:ty = $rule:expr; )*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $name {
                $( $(#[$key_doc])* pub $key: $type, )*
            }

            impl $name {
                /// Reads the section from settings that were checked when they were taken.
                pub(super) fn read(settings: &Settings) -> Self {
                    Self { $( $key: settings.read($section, stringify!($key), &$rule), )* }
                }
            }
        )*

        /// Every section, in the order of the declaration.
        pub(super) const SCHEMA: Schema = Schema {
            sections: &[
                $( Section {
                    name: $section,
                    keys: &[ $( Key { name: stringify!($key), rule: &$rule }, )* ],
                }, )*
            ],
        };
    };
}

/// A duration between two bounds in milliseconds.
const fn span_ms(min: u64, max: u64) -> Span {
    Span {
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
    }
}

/// One second, one minute and one hour in milliseconds, for bounds that read as such.
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// A port to listen on.
const PORT: Count<u16> = Count {
    min: 0,
    max: u16::MAX,
};

/// A share between nothing and all.
const SHARE: Share = Share { min: 0.0, max: 1.0 };

sections! {
    /// The process as such, whatever its role.
    Process("process") {
        /// The name of this process, or where to take it from.
        id: ProcessId = PROCESS_ID;
        /// Listeners bind to it and outgoing connections leave from it: see [`Process::address`].
        host: Host = HOST;
        /// The availability zone this process runs in: see [`Process::zone`].
        zone: ProcessZone = PROCESS_ZONE;
        /// The port of metrics, health and admin HTTP; 0 is any free one.
        admin_port: u16 = PORT;
        /// Which log lines are written, as a `tracing` filter.
        log: String = LOG_FILTER;
        /// How log lines look.
        log_format: LogFormat = LOG_FORMAT;
        /// How many threads run the process's work; 0 is one per core.
        workers: usize = Count { min: 0, max: 1024 };
        /// How long work in progress may take to end after the signal to stop.
        shutdown_grace: Duration = span_ms(0, 10 * MINUTE);
    }

    /// What the cluster is made of.
    Cluster("cluster") {
        /// The directory of the nodes' logs, which nodes may share.
        data_dir: Option<PathBuf> = OPTIONAL_DIRECTORY;
        /// Where nodes may be found: hints, of which one that answers is enough.
        seeds: Vec<Seed> = SEEDS;
    }

    /// The node: the cache and its limits.
    Node("node") {
        /// The port of the data plane and of control; 0 is any free one.
        grpc_port: u16 = PORT;
        /// The port of Raft; 0 is any free one.
        raft_port: u16 = PORT;
        /// The budget of the cache: keys, values and what each entry costs beyond them.
        memory: ByteSize = Size { min: ByteSize::mib(1), max: ByteSize::gib(1024) };
        /// How many callers may wait for the load of one key.
        max_waiters_per_key: usize = Count { min: 1, max: 1_000_000 };
        /// How many callers may wait for all the loads of one group.
        max_waiters_per_group: usize = Count { min: 1, max: 10_000_000 };
        /// How many callers may wait for loads in all.
        max_waiters: usize = Count { min: 1, max: 10_000_000 };
        /// How many misses may queue for a place among the loads in flight.
        miss_queue: usize = Count { min: 1, max: 1_000_000 };
        /// How long a miss may queue for it.
        miss_queue_timeout: Duration = span_ms(10, 5 * MINUTE);
        /// How many refreshes of stale entries one group may queue.
        refresh_queue: usize = Count { min: 0, max: 1_000_000 };
        /// The pause between two sweeps that drop expired entries.
        sweep_interval: Duration = span_ms(10, MINUTE);
        /// How many gRPC connections may be open.
        max_connections: usize = Count { min: 1, max: 65_536 };
        /// How long a request of a newer epoch waits for this node to have it too.
        epoch_wait: Duration = span_ms(0, 5 * SECOND);
        /// The longest that a request may wait for a load, whatever its deadline.
        max_deadline: Duration = span_ms(10, 5 * MINUTE);
        /// How long a node that is stopped waits for others to take what it owns.
        leave_timeout: Duration = span_ms(0, 90 * SECOND);
        /// Whether a node that is stopped is gone for good.
        leave_on_term: bool = Switch;
    }

    /// Raft: the log that the nodes agree on.
    Raft("raft") {
        /// Entries after which a snapshot takes their place.
        snapshot_entries: u64 = Count { min: 1, max: 1_000_000 };
        /// Entries before a snapshot that are kept for nodes that lag.
        kept_entries: u64 = Count { min: 0, max: 1_000_000 };
        /// How many members vote, as soon as there are so many.
        voters: usize = Either(3, 5);
    }

    /// Transfers: what a node sends of partitions that move to another.
    Transfer("transfer") {
        /// Whether partitions are handed over warm.
        enabled: bool = Switch;
        /// How many bytes a second one transfer may send.
        max_rate: ByteSize = Size { min: ByteSize::kib(64), max: ByteSize::gib(16) };
    }

    /// The origin: where rows come from, and how hard it may be asked.
    Origin("origin") {
        /// Where the rows come from; a node needs one.
        url: Option<OriginUrl> = OPTIONAL_ORIGIN;
        /// The database user, in place of the URL's.
        user: Option<String> = OPTIONAL_USER;
        /// The user's password, in place of the URL's.
        password: Option<Secret> = OptionalSecret;
        /// The file that holds the password, in place of the URL's; read for each connection.
        password_file: Option<PathBuf> = OPTIONAL_FILE;
        /// How long connecting to the database may take.
        connect_timeout: Duration = span_ms(10, MINUTE);
        /// How many connections to the database a node may hold.
        max_connections: usize = Count { min: 1, max: 1000 };
        /// How many of them a node opens before it joins.
        initial_connections: usize = Count { min: 0, max: 1000 };
        /// How many statements may be in flight on one connection.
        pipeline_depth: usize = Count { min: 1, max: 64 };
        /// How long one call may take.
        timeout: Duration = span_ms(10, 5 * MINUTE);
        /// How many keys one call may ask for.
        max_batch: usize = Count { min: 1, max: 10_000 };
        /// How many calls of one group may be in flight.
        max_concurrent_loads: usize = Count { min: 1, max: 1024 };
        /// How many calls more of one group may be in flight to refresh stale entries.
        max_concurrent_refreshes: usize = Count { min: 1, max: 1024 };
        /// How long the embedded origin takes for a call.
        memory_latency: Duration = span_ms(0, MINUTE);
        /// At most how much longer it takes, drawn evenly.
        memory_jitter: Duration = span_ms(0, MINUTE);
        /// The share of calls that the embedded origin fails.
        memory_failure_ratio: f64 = SHARE;
        /// The share of calls that the embedded origin never answers.
        memory_hang_ratio: f64 = SHARE;
        /// Whether connections to the database begin read-only, by an option of their start.
        read_only: bool = Switch;
    }

    /// The frontend: HTTP and its limits.
    Frontend("frontend") {
        /// The port of HTTP; 0 is any free one.
        port: u16 = PORT;
        /// How many look-ups may wait for their nodes.
        max_waiting: usize = Count { min: 1, max: 10_000_000 };
        /// How many of them may be of one group.
        max_waiting_per_group: usize = Count { min: 1, max: 10_000_000 };
        /// How long a client's request may take in all.
        deadline: Duration = span_ms(10, 5 * MINUTE);
        /// How many HTTP connections may be open.
        max_connections: usize = Count { min: 1, max: 1_000_000 };
        /// How many connections the kernel may hold that were not accepted yet.
        backlog: u32 = Count { min: 1, max: 65_535 };
        /// How long the head of a request may take to arrive.
        header_timeout: Duration = span_ms(100, 10 * MINUTE);
        /// How long a connection may stay open without a request.
        idle_timeout: Duration = span_ms(100, HOUR);
        /// How long the body of a request may take to arrive.
        body_timeout: Duration = span_ms(100, 10 * MINUTE);
        /// How long a client may take to read the next part of a long answer.
        write_timeout: Duration = span_ms(100, 10 * MINUTE);
        /// How large the head of a request may be.
        max_header_bytes: ByteSize = Size { min: ByteSize::kib(8), max: ByteSize::mib(1) };
        /// How large the body of a request may be.
        max_body_bytes: ByteSize = Size { min: ByteSize::kib(1), max: ByteSize::mib(64) };
        /// How many keys one request may ask for.
        multi_get_max_keys: usize = Count { min: 1, max: 10_000 };
        /// How large all the values of one answer to many keys may be together.
        multi_get_max_bytes: ByteSize = Size { min: ByteSize::kib(1), max: ByteSize::gib(1) };
        /// How many retries are allowed per request.
        retry_ratio: f64 = SHARE;
        /// How many retries per second are allowed in any case.
        retry_floor_per_second: u32 = Count { min: 0, max: 100_000 };
    }

    /// The pipeline from a frontend to a node.
    Pipeline("pipeline") {
        /// The pause between two pings.
        ping_interval: Duration = span_ms(10, 10 * SECOND);
        /// How long a ping may stay unanswered before the node counts as unreachable.
        ping_timeout: Duration = span_ms(20, MINUTE);
        /// How long connecting may take.
        connect_timeout: Duration = span_ms(10, MINUTE);
        /// The first pause before connecting again.
        reconnect_min: Duration = span_ms(1, MINUTE);
        /// The longest pause before connecting again.
        reconnect_max: Duration = span_ms(1, 5 * MINUTE);
        /// How many requests may wait for an answer of one node.
        max_in_flight: usize = Count { min: 1, max: 1_000_000 };
        /// How many of them may be of one group.
        max_in_flight_per_group: usize = Count { min: 1, max: 1_000_000 };
        /// How many requests or answers go in one message.
        max_batch: usize = Count { min: 1, max: 4096 };
        /// How large one message may be.
        max_message: ByteSize = Size { min: ByteSize::kib(64), max: ByteSize::mib(64) };
    }
}
