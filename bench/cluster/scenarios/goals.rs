//! The goals of all scenarios in one table, and how it gets into a page that has a place for it. Pure.

use super::outcome::Outcome;

/// The lines of a page between which the table is: it is made anew, and what is around it stays.
const BEGIN: &str = "<!-- made by `just bench-moves` -->";
const END: &str = "<!-- until here -->";

/// What each scenario was to keep to, and what came of it: of its first run, which is as nodes are by default unless the table says so.
/// `charts` is the way to the folder of the charts, with a slash at its end if it is any.
pub(crate) fn table(scenarios: &[Vec<Outcome>], charts: &str) -> String {
    let mut text = "| what happens | goal | measured | |\n|---|---|---|---|\n".to_owned();
    for run in scenarios.iter().filter_map(|runs| runs.first()) {
        let chart = format!("{charts}{}.svg", run.scenario);
        let how = match &*run.variant {
            "warm" => String::new(),
            other => format!("{other}, "),
        };
        let mut what = format!("{} ({how}[chart]({chart}))", run.what);
        for goal in &run.goals {
            // What follows is where and when, which the report of the scenario tells.
            let measured = goal.measured.split(": ").next().unwrap_or_default();
            let verdict = if goal.is_met { "met" } else { "**missed**" };
            text += &format!("| {what} | {} | {measured} | {verdict} |\n", goal.goal);
            what.clear();
        }
    }
    text
}

/// The page with this table in its place; none if it has no place for one.
pub(crate) fn insert(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))
}
