//! The static member list: who the nodes are while nobody agrees on it through the log.
//!
//! ```toml
//! [[members]]
//! name = "node-1"
//! host = "127.0.1.1"
//! ```
//!
//! Pure; goes away when membership comes from the log.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use toml::de::DeValue;

use super::ConfigError;
use super::document::{Document, Fields, describe};
use super::names::NAME;
use super::place::{Place, SourceFile};
use super::report::Mistakes;
use super::rule::{Count, Text};
use crate::ids::NodeId;

/// The most members a list may have: with 4096 partitions, more would own too few to be even.
const MAX_MEMBERS: usize = 256;

/// The port of a member that names none.
const DEFAULT_GRPC_PORT: u16 = 8001;

const PORT: Count<u16> = Count {
    min: 1,
    max: u16::MAX,
};
const WEIGHT: Count<u32> = Count {
    min: 1,
    max: 1_000_000,
};

/// An address that others can connect to.
const MEMBER_HOST: Text<IpAddr> = Text {
    expects: "an IP address that others can connect to, such as \"127.0.1.1\"",
    read: |text| {
        text.parse()
            .ok()
            .filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast())
    },
    write: IpAddr::to_string,
};

/// One line of the member list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticMember {
    /// By the order in the file, from 1.
    pub id: NodeId,
    /// Unique in the list.
    pub name: String,
    /// Unique in the list together with the port.
    pub host: IpAddr,
    /// The port of the data plane.
    pub grpc_port: u16,
    /// The availability zone.
    pub zone: String,
    /// The share of the partitions, relative to the others.
    pub weight: u32,
    /// Where the member stands in the file.
    pub place: Place,
}

impl StaticMember {
    /// Where the member's data plane listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.grpc_port)
    }
}

/// Reads a member list, in the order of the file.
///
/// # Errors
///
/// Every mistake in the file: besides wrong values and unknown fields, two members of one name or
/// address, and an empty list.
pub fn read_members(file: SourceFile<'_>) -> Result<Vec<StaticMember>, ConfigError> {
    let mut mistakes = Mistakes::default();
    let mut members = Vec::new();
    if let Some(document) = Document::parse(file, &mut mistakes) {
        members = read_document(&document, &mut mistakes);
        check_unique(&members, &mut mistakes);
    }
    mistakes.or(members)
}

/// Reads every member that has no mistake.
fn read_document(document: &Document<'_>, mistakes: &mut Mistakes) -> Vec<StaticMember> {
    const EXPECTED: &str = "expected [[members]] with name and host";
    document.only("members", EXPECTED, mistakes);
    let list: Vec<_> = match document.root.get("members") {
        None => Vec::new(),
        Some(value) => match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            other => {
                let what = format!("members is {}", describe(other));
                let place = document.place(value.span().start);
                mistakes.push(place, what, EXPECTED.to_owned());
                return Vec::new();
            }
        },
    };
    if list.is_empty() {
        mistakes.push(
            document.whole(),
            "no members".to_owned(),
            EXPECTED.to_owned(),
        );
    }
    if list.len() > MAX_MEMBERS {
        let what = format!("{} members", list.len());
        mistakes.push(
            document.whole(),
            what,
            format!("expected at most {MAX_MEMBERS}"),
        );
    }
    let mut members = Vec::new();
    for (value, id) in list.into_iter().take(MAX_MEMBERS).zip(1..) {
        let start = value.span().start;
        let DeValue::Table(table) = value.get_ref() else {
            let what = format!("member {id} is {}", describe(value.get_ref()));
            mistakes.push(
                document.place(start),
                what,
                "expected [[members]]".to_owned(),
            );
            continue;
        };
        let fields = Fields::new(document, table, format!("member {id}"), start);
        members.extend(read_member(
            NodeId(id),
            fields,
            document.place(start),
            mistakes,
        ));
    }
    members
}

/// Reads one member; `None` if it has a mistake.
fn read_member(
    id: NodeId,
    mut fields: Fields<'_, '_>,
    place: Place,
    mistakes: &mut Mistakes,
) -> Option<StaticMember> {
    let name = fields.required("name", &NAME, mistakes);
    let host = fields.required("host", &MEMBER_HOST, mistakes);
    let grpc_port = fields.optional("grpc_port", &PORT, DEFAULT_GRPC_PORT, mistakes);
    let zone = fields.optional("zone", &NAME, "default".to_owned(), mistakes);
    let weight = fields.optional("weight", &WEIGHT, 1, mistakes);
    fields.finish(mistakes);
    Some(StaticMember {
        id,
        name: name?,
        host: host?,
        grpc_port: grpc_port?,
        zone: zone?,
        weight: weight?,
        place,
    })
}

/// Notes members that share a name or an address.
fn check_unique(members: &[StaticMember], mistakes: &mut Mistakes) {
    let mut names: HashMap<&str, &Place> = HashMap::new();
    let mut addresses: HashMap<SocketAddr, &Place> = HashMap::new();
    for member in members {
        if let Some(first) = names.get(member.name.as_str()) {
            let what = format!("the name {:?} is taken", member.name);
            mistakes.push(
                member.place.clone(),
                what,
                format!("expected another than {first} has"),
            );
        } else {
            names.insert(&member.name, &member.place);
        }
        if let Some(first) = addresses.get(&member.address()) {
            let what = format!("the address {} is taken", member.address());
            mistakes.push(
                member.place.clone(),
                what,
                format!("expected another than {first} has"),
            );
        } else {
            addresses.insert(member.address(), &member.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<StaticMember>, ConfigError> {
        read_members(SourceFile {
            name: "members.toml",
            text,
        })
    }

    #[test]
    fn ids_follow_the_order_of_the_file() {
        let members = read(
            "[[members]]\nname = \"b\"\nhost = \"127.0.1.1\"\n\n\
             [[members]]\nname = \"a\"\nhost = \"::1\"\ngrpc_port = 9001\nzone = \"z\"\nweight = 7\n",
        )
        .unwrap();
        let first = StaticMember {
            id: NodeId(1),
            name: "b".to_owned(),
            host: "127.0.1.1".parse().unwrap(),
            grpc_port: DEFAULT_GRPC_PORT,
            zone: "default".to_owned(),
            weight: 1,
            place: Place::File {
                name: "members.toml".to_owned(),
                line: 1,
                column: 1,
            },
        };
        assert_eq!(members[0], first);
        assert_eq!(members[1].id, NodeId(2));
        assert_eq!(members[1].address().to_string(), "[::1]:9001");
        assert_eq!((members[1].zone.as_str(), members[1].weight), ("z", 7));
    }

    #[test]
    fn a_longer_list_than_allowed_is_refused() {
        let text: String = (0..=MAX_MEMBERS)
            .map(|n| {
                format!(
                    "[[members]]\nname=\"n{n}\"\nhost=\"127.0.{}.{}\"\n",
                    n / 256,
                    n % 256
                )
            })
            .collect();
        assert_eq!(
            read(&text).unwrap_err().to_string(),
            "1 mistake in the configuration:\n  members.toml: 257 members; expected at most 256"
        );
    }
}
