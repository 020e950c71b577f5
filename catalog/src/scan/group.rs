//! Data files to balanced groups, one per partition of the scan.

use datafusion::datasource::listing::PartitionedFile;

/// Deals files to at most `groups_max` groups of about equal bytes: largest first, each to the emptiest group.
/// Splitting large files by byte range is left to the optimizer, which knows how many partitions a plan is worth.
pub(crate) fn balance(mut files: Vec<PartitionedFile>, groups_max: usize) -> Vec<Vec<PartitionedFile>> {
    files.sort_by(|a, b| {
        let size = b.object_meta.size.cmp(&a.object_meta.size);
        size.then_with(|| a.object_meta.location.cmp(&b.object_meta.location))
    });
    let count = groups_max.max(1).min(files.len());
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = (0..count).map(|_| (0, Vec::new())).collect();
    for file in files {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.object_meta.size;
            group.push(file);
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sizes: &[u64], groups_max: usize, expect: &[&[u64]]) {
        let files = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| PartitionedFile::new(format!("f{i}"), *size));
        let groups = balance(files.collect(), groups_max);
        let sizes: Vec<Vec<u64>> = groups
            .iter()
            .map(|g| g.iter().map(|f| f.object_meta.size).collect())
            .collect();
        assert_eq!(sizes, expect);
    }

    #[test]
    fn bytes_are_spread_evenly() {
        check(&[1, 9, 5, 5], 2, &[&[9, 1], &[5, 5]]);
        check(&[3], 4, &[&[3]]);
        check(&[2, 2, 2], 8, &[&[2], &[2], &[2]]);
        check(&[], 4, &[]);
    }
}
