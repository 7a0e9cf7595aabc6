//! From flags and files to what a role is started with. Every mistake found here is a usage error.

use std::path::Path;
use std::sync::Arc;

use super::args::Common;
use super::failure::Failure;
use super::print::write;
use crate::config::{
    self, Config, ConfigError, Flag, Layers, Loaded, LogFormat, OriginUrl, ProcessId, SourceFile,
    load, read_groups,
};
use crate::net::listen;
use crate::origin::memory::Faults;
use crate::origin::{self, Origin};
use crate::telemetry::LostLines;
use crate::topology::model::group::GroupSpec;

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// What a long-running command is started with.
pub(super) struct Configured {
    pub(super) config: Config,
    /// The lines of the log that are lost, from the start of logging on.
    pub(super) lost: LostLines,
}

/// Loads the configuration and starts logging. `built_in` stands in for a `--config` that is not given.
///
/// None if `--print-config` was asked for and has been answered.
pub(super) fn configure(
    common: &Common,
    flags: Vec<Flag>,
    built_in: Option<SourceFile<'_>>,
) -> Result<Option<Configured>, Failure> {
    let file = common
        .config
        .as_deref()
        .map(|path| read(path).map(|text| (path, text)))
        .transpose()?;
    let name = file.as_ref().map(|(path, _)| path.display().to_string());
    let given = name
        .as_deref()
        .zip(file.as_ref())
        .map(|(name, (_, text))| SourceFile { name, text });
    let layers = Layers {
        file: given.or(built_in),
        environment: std::env::vars_os().collect(),
        sets: common.set.clone(),
        flags,
    };
    let Loaded { config, printed } = load(&layers)?;
    if common.print_config {
        write(printed.as_bytes(), false)?;
        return Ok(None);
    }
    let json = config.process.log_format == LogFormat::Json;
    let lost = crate::telemetry::start(&config.process.log, json)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Some(Configured { config, lost }))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

/// The groups that a file describes, if a node of this configuration can hold their values.
pub(super) fn checked_groups(
    config: &Config,
    path: &Path,
) -> Result<Vec<(String, GroupSpec)>, Failure> {
    let groups = groups_of(path)?;
    check_sizes(config, &path.display().to_string(), &groups)?;
    Ok(groups)
}

/// The groups that a file describes.
pub(super) fn groups_of(path: &Path) -> Result<Vec<(String, GroupSpec)>, Failure> {
    let (name, text) = (path.display().to_string(), read(path)?);
    Ok(read_groups(SourceFile {
        name: &name,
        text: &text,
    })?)
}

/// A value that may be stored must fit in the cache and in a message.
fn check_sizes(config: &Config, file: &str, groups: &[(String, GroupSpec)]) -> Result<(), Failure> {
    let bounds = [
        ("node.memory", config.node.memory.0 / 2),
        ("pipeline.max_message", config.pipeline.max_message.0 / 2),
    ];
    let mut mistakes = Vec::new();
    for (group, spec) in groups {
        for (setting, half) in bounds {
            if spec.max_value_bytes > half {
                mistakes.push(format!(
                    "{file}: groups.{group}.max_value_bytes is {}; half of {setting}, {half} bytes, is the most",
                    spec.max_value_bytes
                ));
            }
        }
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(Failure::Usage(mistakes.join("\n")))
    }
}

/// Fails with all that a role needs and was not given: of the seeds, the data directory and the origin.
pub(super) fn require(config: &Config, is_node: bool) -> Result<(), Failure> {
    let cluster = &config.cluster;
    let needs = [
        (
            cluster.seeds.is_empty(),
            "cluster.seeds is not set: give --seeds with addresses of some nodes, or a DNS name that has them",
        ),
        (
            is_node && cluster.data_dir.is_none(),
            "cluster.data_dir is not set: give --data-dir DIR for the node's log",
        ),
        (
            is_node && config.origin.url.is_none(),
            "origin.url is not set: give --origin, for example memory:config/dev.csv",
        ),
    ];
    let lacks: Vec<_> = needs
        .iter()
        .filter_map(|(is_lacking, text)| is_lacking.then_some(*text))
        .collect();
    if lacks.is_empty() {
        Ok(())
    } else {
        Err(Failure::Usage(lacks.join("\n")))
    }
}

/// Returns what this process is called.
pub(super) fn name(config: &Config) -> String {
    match &config.process.id {
        ProcessId::Literal(name) => name.clone(),
        ProcessId::FromHostname => gethostname::gethostname().to_string_lossy().into_owned(),
        ProcessId::FromTaskMetadata => panic!("the metadata were not read"),
    }
}

/// Listens on `port` of the process's address; `purpose` says in an error what for.
pub(super) fn bind(
    config: &Config,
    port: u16,
    purpose: &'static str,
    backlog: u32,
) -> Result<tokio::net::TcpListener, Failure> {
    listen((config.process.address(), port).into(), purpose, backlog)
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// The origin that `origin.url` names; none if it is not set.
pub(super) fn origin(config: &Config) -> Result<Option<Arc<dyn Origin>>, Failure> {
    let url = config.origin.url.as_ref();
    url.map(|url| open_origin("origin.url", url, &config.origin))
        .transpose()
}

/// Opens the origin at `url`, which `setting` was given as, within the bounds of `section`.
pub(super) fn open_origin(
    setting: &str,
    url: &OriginUrl,
    section: &config::Origin,
) -> Result<Arc<dyn Origin>, Failure> {
    match url {
        OriginUrl::Memory(path) => origin::open_rows(path, faults(section))
            .map_err(|error| Failure::Usage(error.to_string())),
        OriginUrl::Postgres(url) => origin::open_postgres(url, section)
            .map_err(|error| Failure::Usage(format!("{setting}: {error}"))),
    }
}

/// Returns how the embedded origin is to misbehave.
pub(super) fn faults(section: &config::Origin) -> Faults {
    Faults {
        latency: section.memory_latency,
        jitter: section.memory_jitter,
        failure_ratio: section.memory_failure_ratio,
        hang_ratio: section.memory_hang_ratio,
    }
}
