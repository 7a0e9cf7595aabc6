//! Runs: consecutive partitions for which a command has the same content. Pure.

use crate::ids::Partition;

/// Joins partitions, given in ascending order, into as few runs as possible. Each run has its first
/// partition, its length, and the content that its partitions share.
pub(in crate::topology) fn runs<T: PartialEq>(
    contents: impl IntoIterator<Item = (Partition, T)>,
) -> Vec<(Partition, u16, T)> {
    let mut runs: Vec<(Partition, u16, T)> = Vec::new();
    for (partition, content) in contents {
        match runs.last_mut() {
            Some((first, count, known)) if first.0 + *count == partition.0 && *known == content => {
                *count += 1;
            }
            _ => runs.push((partition, 1, content)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_a_gap_and_where_the_content_changes() {
        let contents = [(3, 'a'), (4, 'a'), (5, 'b'), (7, 'b'), (8, 'b'), (9, 'a')];
        let found = runs(contents.map(|(partition, content)| (Partition(partition), content)));
        let found = found
            .into_iter()
            .map(|(first, count, content)| (first.0, count, content));
        let expected = [(3, 2, 'a'), (5, 1, 'b'), (7, 2, 'b'), (9, 1, 'a')];
        assert!(found.eq(expected));
        assert!(runs::<()>([]).is_empty());
    }
}
