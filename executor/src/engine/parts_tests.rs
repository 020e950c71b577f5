//! Every byte of every file is in one part, and in one group of it.

use std::collections::BTreeMap;

use super::*;

/// Of each file, the ranges that are read, in order.
fn ranges(files: impl IntoIterator<Item = PartitionedFile>) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut ranges: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for file in files {
        let name = file.object_meta.location.to_string();
        ranges.entry(name).or_default().push(file.range());
    }
    ranges.values_mut().for_each(|ranges| ranges.sort_unstable());
    ranges
}

fn files(sizes: &[u64]) -> Vec<PartitionedFile> {
    let file = |(index, size): (usize, &u64)| PartitionedFile::new(format!("t/{index}.parquet"), *size);
    sizes.iter().enumerate().map(file).collect()
}

#[test]
fn parts_have_every_byte_once_however_the_files_were_cut_before() {
    let sizes = [10, CUT_BYTES_MIN - 1, CUT_BYTES_MIN, 1_000_000_007, 3_000_000];
    for count in [1, 2, 3, 16] {
        for groups in [1, 2, 7] {
            let before = spread(files(&sizes), groups);
            let before: Vec<_> = before.iter().flat_map(FileGroup::iter).collect();
            let parts = (0..count).flat_map(|index| {
                let part = Part { index, count };
                let files: Vec<_> = before.iter().filter_map(|file| part.of_file(file)).collect();
                spread(files, 3).into_iter().flat_map(FileGroup::into_inner)
            });
            for (index, (_, ranges)) in ranges(parts).into_iter().enumerate() {
                let mut end = 0;
                for (from, to) in ranges {
                    assert_eq!(from, end, "file {index} of {count} parts, {groups} groups");
                    end = to;
                }
                assert_eq!(end, sizes[index]);
            }
        }
    }
}

#[test]
fn parts_and_groups_are_about_equal() {
    let files = files(&[64 << 20; 5]);
    for index in 0..4 {
        let part = Part { index, count: 4 };
        let own: Vec<_> = files.iter().filter_map(|file| part.of_file(file)).collect();
        let groups = spread(own, 2);
        let bytes: Vec<u64> = groups
            .iter()
            .map(|group| group.iter().map(PartitionedFile::effective_size).sum())
            .collect();
        assert_eq!(bytes, [40 << 20; 2], "part {index}");
    }
}
