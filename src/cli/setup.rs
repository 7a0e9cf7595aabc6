//! From flags and files to what a role is started with. Every mistake found here is a usage error.

use std::path::Path;
use std::sync::Arc;

use super::Failure;
use super::args::Common;
use crate::config::{
    self, Config, ConfigError, Flag, Layers, Loaded, LogFormat, OriginUrl, ProcessId, SourceFile,
    StaticMember, load, read_groups, read_members,
};
use crate::origin::memory::Faults;
use crate::origin::{self, Origin};
use crate::topology::fixed::fixed_view;
use crate::topology::group::GroupSpec;
use crate::topology::member::{Member, MemberStatus, Zone};
use crate::topology::view::View;

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Loads the configuration and starts logging. `built_in` stands in for a `--config` that is not given.
///
/// None if `--print-config` was asked for and has been answered.
pub(super) fn configure(
    common: &Common,
    flags: Vec<Flag>,
    built_in: Option<SourceFile<'_>>,
) -> Result<Option<Config>, Failure> {
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
        print(&printed);
        return Ok(None);
    }
    let json = config.process.log_format == LogFormat::Json;
    crate::telemetry::start(&config.process.log, json)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Some(config))
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(text: &str) {
    print!("{text}");
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

/// The groups of `cluster.groups`; none if it is not set.
pub(super) fn groups(config: &Config) -> Result<Option<Vec<(String, GroupSpec)>>, Failure> {
    let path = config.cluster.groups.as_deref();
    path.map(|path| checked_groups(config, path)).transpose()
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

/// The view that `cluster.members` and `cluster.groups` describe, with the members as listed.
pub(super) fn fixed(config: &Config) -> Result<(Arc<View>, Vec<StaticMember>), Failure> {
    let (groups, members) = match (groups(config), members(config)) {
        (Ok(groups), Ok(members)) => (groups, members),
        (Err(Failure::Usage(one)), Err(Failure::Usage(other))) => {
            return Err(Failure::Usage(format!("{one}\n{other}")));
        }
        (Err(failure), _) | (_, Err(failure)) => return Err(failure),
    };
    let view = fixed_view(
        members.iter().map(member).collect(),
        groups.unwrap_or_default(),
    )
    .map_err(|error| Failure::Usage(error.to_string()))?;
    Ok((Arc::new(view), members))
}

/// The members of `cluster.members`; none if it is not set.
fn members(config: &Config) -> Result<Vec<StaticMember>, Failure> {
    let Some(path) = &config.cluster.members else {
        return Ok(Vec::new());
    };
    let (name, text) = (path.display().to_string(), read(path)?);
    Ok(read_members(SourceFile {
        name: &name,
        text: &text,
    })?)
}

/// Fails with all that a role needs and was not told, or was told and cannot use: of the seeds or the
/// member list, the groups, the data directory and the origin.
pub(super) fn require(config: &Config, is_node: bool) -> Result<(), Failure> {
    let cluster = &config.cluster;
    let has_seeds = !cluster.seeds.is_empty();
    let needs = [
        (
            !has_seeds && cluster.members.is_none(),
            "cluster.members is not set: give --members FILE with the cluster's nodes, or --seeds with addresses of some",
        ),
        (
            !has_seeds && cluster.groups.is_none(),
            "cluster.groups is not set: give --groups FILE with the cache groups",
        ),
        (
            has_seeds && cluster.members.is_some(),
            "cluster.members is set, and so is cluster.seeds: nodes that agree on who they are need no list",
        ),
        (
            has_seeds && cluster.groups.is_some(),
            "cluster.groups is set, and so is cluster.seeds: use gcache group apply FILE",
        ),
        (
            has_seeds && is_node && cluster.data_dir.is_none(),
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

fn member(listed: &StaticMember) -> Member {
    Member {
        id: listed.id,
        name: listed.name.as_str().into(),
        host: listed.host.to_string().into(),
        grpc_port: listed.grpc_port,
        zone: Zone::new(listed.zone.as_str()),
        weight: listed.weight,
        status: MemberStatus::Up,
    }
}

/// What this process is called.
pub(super) fn name(config: &Config) -> String {
    match &config.process.id {
        ProcessId::Literal(name) => name.clone(),
        ProcessId::FromHostname => gethostname::gethostname().to_string_lossy().into_owned(),
        ProcessId::FromTaskMetadata => panic!("the metadata were not read"),
    }
}

/// Which of the listed members this process is.
pub(super) fn identify<'a>(
    config: &Config,
    members: &'a [StaticMember],
) -> Result<&'a StaticMember, Failure> {
    let name = name(config);
    let me = members
        .iter()
        .find(|member| member.name == name)
        .ok_or_else(|| {
            let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
            Failure::Usage(format!(
                "the member list has no node {name:?}: give --id with one of {}",
                names.join(", ")
            ))
        })?;
    let own = (config.process.address(), config.node.grpc_port);
    if (me.host, me.grpc_port) != own {
        return Err(Failure::Usage(format!(
            "{name} is listed at {}:{}, and this process would listen at {}:{}: \
             give the listed --host and --grpc-port",
            me.host, me.grpc_port, own.0, own.1
        )));
    }
    Ok(me)
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

/// How the embedded origin is to misbehave.
pub(super) fn faults(section: &config::Origin) -> Faults {
    Faults {
        latency: section.memory_latency,
        jitter: section.memory_jitter,
        failure_ratio: section.memory_failure_ratio,
        hang_ratio: section.memory_hang_ratio,
    }
}
