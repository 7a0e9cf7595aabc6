//! Takes a URL apart into decoded values by name. What the values mean is `url`'s business.

use std::collections::BTreeMap;

use super::error::{PARAMETERS, UrlError};

/// PostgreSQL's port.
pub(super) const PORT: u16 = 5432;

/// The values of a URL, whether they stood in front, in the middle or in its query.
#[derive(Default)]
pub(super) struct Parts {
    values: BTreeMap<&'static str, Vec<u8>>,
    hosts: Vec<String>,
    /// One for each of `hosts`, or none if the URL has none in that place.
    ports: Vec<u16>,
}

/// Takes `url` apart. Every name is one of [`PARAMETERS`] and there once.
pub(super) fn split(url: &str) -> Result<Parts, UrlError> {
    let rest = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))
        .ok_or(UrlError::Scheme)?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (credentials, hosts) = match authority.split_once('@') {
        Some((credentials, hosts)) => (Some(credentials), hosts),
        None => (None, authority),
    };
    // Otherwise the rest of a password with an unescaped character would pass for hosts, a database
    // or parameters, and be shown as such.
    if hosts.contains('@') || tail.contains('@') {
        return Err(UrlError::StrayAt);
    }
    let mut parts = Parts::default();
    if let Some(credentials) = credentials {
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        parts.put("user", user)?;
        if let Some(password) = password {
            parts.put("password", password)?;
        }
    }
    if !hosts.is_empty() {
        parts.put_hosts(hosts)?;
    }
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    if path.len() > 1 {
        parts.put("dbname", &path[1..])?;
    }
    if !query.is_empty() {
        parts.put_query(query)?;
    }
    Ok(parts)
}

impl Parts {
    /// The value of `name` as text, once.
    pub(super) fn take(&mut self, name: &'static str) -> Result<Option<String>, UrlError> {
        self.take_bytes(name)
            .map(|value| text(value, name))
            .transpose()
    }

    /// The value of `name` as it is, once.
    pub(super) fn take_bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        self.values.remove(name)
    }

    /// At least one host, and as many ports.
    pub(super) fn take_hosts(&mut self) -> Result<(Vec<String>, Vec<u16>), UrlError> {
        let mut hosts = std::mem::take(&mut self.hosts);
        if let Some(list) = self.take("host")? {
            if !hosts.is_empty() {
                return Err(UrlError::Twice { name: "host" });
            }
            hosts = list.split(',').map(str::to_owned).collect();
        }
        if hosts.is_empty() || hosts.iter().any(String::is_empty) {
            return Err(UrlError::NoHost);
        }
        let mut ports = std::mem::take(&mut self.ports);
        if let Some(list) = self.take("port")? {
            if !ports.is_empty() {
                return Err(UrlError::Twice { name: "port" });
            }
            ports = list
                .split(',')
                .enumerate()
                .map(|(at, port)| match port {
                    "" => Ok(PORT),
                    _ => read_port(port, at + 1),
                })
                .collect::<Result<_, _>>()?;
        }
        match ports.len() {
            0 => ports = vec![PORT; hosts.len()],
            1 => ports = vec![ports[0]; hosts.len()],
            given if given != hosts.len() => {
                return Err(UrlError::Count {
                    name: "port",
                    given,
                    hosts: hosts.len(),
                });
            }
            _ => {}
        }
        Ok((hosts, ports))
    }

    fn put(&mut self, name: &'static str, encoded: &str) -> Result<(), UrlError> {
        match self.values.insert(name, decode(encoded, name)?) {
            Some(_) => Err(UrlError::Twice { name }),
            None => Ok(()),
        }
    }

    fn put_query(&mut self, query: &str) -> Result<(), UrlError> {
        let mut after_password = false;
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or(UrlError::NotPair)?;
            let name = text(decode(name, "a parameter's name")?, "a parameter's name")?;
            let Some(known) = PARAMETERS.iter().find(|known| **known == name) else {
                // What follows an unescaped & in a password looks like a parameter.
                let shown = if after_password { "***" } else { &name };
                return Err(UrlError::Unknown {
                    name: shown.to_owned(),
                });
            };
            after_password |= *known == "password";
            self.put(known, value)?;
        }
        Ok(())
    }

    fn put_hosts(&mut self, list: &str) -> Result<(), UrlError> {
        let mut any_port = false;
        for (at, entry) in list.split(',').enumerate() {
            let number = at + 1;
            let (host, port) = match entry.strip_prefix('[') {
                Some(address) => {
                    let (host, rest) = address
                        .split_once(']')
                        .ok_or(UrlError::BadHost { number })?;
                    match rest.strip_prefix(':') {
                        Some(port) => (host, Some(port)),
                        None if rest.is_empty() => (host, None),
                        None => return Err(UrlError::BadHost { number }),
                    }
                }
                None => match entry.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (entry, None),
                },
            };
            self.hosts.push(text(decode(host, "a host")?, "a host")?);
            any_port |= port.is_some();
            self.ports
                .push(port.map_or(Ok(PORT), |port| read_port(port, number))?);
        }
        // Then `port=` may give them.
        if !any_port {
            self.ports.clear();
        }
        Ok(())
    }
}

fn read_port(text: &str, number: usize) -> Result<u16, UrlError> {
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(UrlError::BadPort { number }),
    }
}

/// Decodes as strictly as libpq does: a `%` that begins no code is a mistake, not itself. A zero byte
/// would end the text early in the server's eyes.
fn decode(encoded: &str, part: &'static str) -> Result<Vec<u8>, UrlError> {
    let mut codes = encoded.split('%');
    codes.next();
    let digits = |code: &str| code.bytes().take_while(u8::is_ascii_hexdigit).count();
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(encoded).collect();
    if codes.any(|code| digits(code) < 2) || decoded.contains(&0) {
        return Err(UrlError::Encoding { part });
    }
    Ok(decoded)
}

fn text(decoded: Vec<u8>, part: &'static str) -> Result<String, UrlError> {
    String::from_utf8(decoded).map_err(|_| UrlError::Encoding { part })
}
