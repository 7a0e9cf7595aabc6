//! The tables that a plan of PostgreSQL reads, and which of them it reads whole. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

/// A table of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) schema: String,
    pub(super) table: String,
    /// All its rows are read, whatever the keys are.
    pub(super) is_whole: bool,
}

/// The tables of a plan that `EXPLAIN (VERBOSE, FORMAT JSON)` printed, each once, in their order. None
/// if it is no such plan.
pub(super) fn scans(plan: &str) -> Vec<Scan> {
    let plan: Value = serde_json::from_str(plan).unwrap_or_default();
    let mut found = BTreeMap::new();
    let mut left = vec![&plan[0]["Plan"]];
    while let Some(node) = left.pop() {
        left.extend(node["Plans"].as_array().into_iter().flatten());
        if let (Some(schema), Some(table)) =
            (node["Schema"].as_str(), node["Relation Name"].as_str())
        {
            *found.entry((schema, table)).or_insert(false) |= is_whole(node);
        }
    }
    let scan = |((schema, table), is_whole): ((&str, &str), bool)| Scan {
        schema: schema.to_owned(),
        table: table.to_owned(),
        is_whole,
    };
    found.into_iter().map(scan).collect()
}

/// Whether a node reads its whole table: in the order of the rows, or of an index that nothing is
/// looked up in.
fn is_whole(node: &Value) -> bool {
    match node["Node Type"].as_str() {
        Some("Seq Scan") => true,
        Some("Index Scan" | "Index Only Scan") => node["Index Cond"].is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(kind: &str, table: &str, condition: Option<&str>, below: Vec<Value>) -> Value {
        json!({
            "Node Type": kind,
            "Schema": "public",
            "Relation Name": table,
            "Index Cond": condition,
            "Plans": below,
        })
    }

    fn found(plan: &Value) -> Vec<(String, bool)> {
        let scans = scans(&json!([{ "Plan": plan }]).to_string());
        let found = scans.into_iter().map(|scan| (scan.table, scan.is_whole));
        found.collect()
    }

    #[test]
    fn every_table_is_found_at_any_depth_and_once() {
        let join = json!({
            "Node Type": "Nested Loop",
            "Plans": [
                node("Index Scan", "b", Some("(id = ANY ($1))"), vec![]),
                { "Node Type": "Hash", "Plans": [node("Seq Scan", "a", None, vec![])] },
                node("Seq Scan", "b", None, vec![]),
            ],
        });
        assert_eq!(
            found(&join),
            [("a".to_owned(), true), ("b".to_owned(), true)]
        );
    }

    #[test]
    fn an_index_without_a_condition_is_read_whole() {
        for (kind, condition, is_whole) in [
            ("Seq Scan", None, true),
            ("Index Scan", Some("(id = ANY ($1))"), false),
            ("Index Only Scan", Some("(id = ANY ($1))"), false),
            ("Index Only Scan", None, true),
            ("Bitmap Heap Scan", None, false),
            ("Foreign Scan", None, false),
        ] {
            let plan = node(kind, "t", condition, vec![]);
            assert_eq!(found(&plan), [("t".to_owned(), is_whole)], "{kind}");
        }
    }

    #[test]
    fn what_is_no_plan_has_no_tables() {
        for text in ["", "[]", "{\"Plan\": 7}", "[{\"Plan\": {\"Plans\": 1}}]"] {
            assert_eq!(scans(text), [], "{text}");
        }
    }
}
