//! What a cluster of the tests is made of: how many processes, their settings, groups and rows.

/// How many rows there are beside Tom's: `key-0` has the value `value-0`, and so on.
pub(crate) const ROWS: usize = 1000;

/// The value of this row.
pub(crate) fn value(row: usize) -> String {
    format!("value-{row}")
}

/// What to start. [`Setup::default`] is three nodes and two frontends.
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) frontends: usize,
    /// `section.key=value`, for every process.
    pub(crate) set: Vec<String>,
    /// The groups file. The table is `rows` with the columns `k` and `v`.
    pub(crate) groups: String,
    /// Rows beside the usual ones, as JSON lines.
    pub(crate) rows: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 3,
            frontends: 2,
            set: Vec::new(),
            groups: group("scores", "ttl = '60s'"),
            rows: String::new(),
        }
    }
}

impl Setup {
    /// The file of rows.
    pub(crate) fn all_rows(&self) -> String {
        let row = |row| format!("{{\"k\":\"key-{row}\",\"v\":\"{}\"}}\n", value(row));
        let usual: String = (0..ROWS).map(row).collect();
        usual + "{\"k\":\"Tom\",\"v\":630}\n" + &self.rows
    }

    /// With these settings besides, `section.key=value`.
    pub(crate) fn with(set: &[&str]) -> Self {
        Self {
            set: set.iter().map(|&set| set.to_owned()).collect(),
            ..Self::default()
        }
    }
}

/// A group of the groups file, on the table of the rows, with these `rules`.
pub(crate) fn group(name: &str, rules: &str) -> String {
    format!(
        "[groups.{name}]\ntable = 'rows'\nkey_column = 'k'\nvalue_column = 'v'\ncontent_type = 'text/plain'\n{rules}\n"
    )
}
