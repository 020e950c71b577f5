//! Which executor gets which task: one that reads the same files as the last time, so that what it keeps of them is of
//! use again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::WorkerResolver;
use datafusion_distributed::{DistributedGetterExt, DistributedLeafExec, RouteTasksEvent, RouteTasksEventResponse};
use url::Url;

use super::leaf::file_scan;
use crate::error::Result;

/// Gives the tasks of a stage that reads files to executors by the files they read: each task to the executor that ranks
/// highest for its first file, while none has more than its share. Stages that read no files are left to the library.
pub(super) fn by_files(event: RouteTasksEvent<'_>) -> Option<Result<RouteTasksEventResponse, DataFusionError>> {
    let files = first_files(event.plan, event.task_count)?;
    let urls = || {
        let resolver = event.task_ctx.session_config().get_distributed_worker_resolver()?;
        resolver.get_urls()
    };
    match urls() {
        Ok(urls) if urls.is_empty() => None,
        Ok(urls) => Some(Ok(RouteTasksEventResponse::new(assign(&files, &urls)))),
        Err(error) => Some(Err(error)),
    }
}

/// The first file of each task, of the leaf with the most bytes.
fn first_files(stage: &Arc<dyn ExecutionPlan>, task_count: usize) -> Option<Vec<String>> {
    let mut largest: Option<(u64, Vec<String>)> = None;
    let walked = stage.apply(|node| {
        let leaf = node.downcast_ref::<DistributedLeafExec>();
        let Some(leaf) = leaf.filter(|leaf| leaf.variants().len() == task_count) else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let (mut bytes, mut names) = (0, Vec::new());
        for variant in leaf.variants() {
            let groups = file_scan(variant)
                .map(|scan| scan.file_groups.as_slice())
                .unwrap_or_default();
            let mut files = groups.iter().flat_map(|group| group.iter()).peekable();
            let first = files.peek().map(|file| file.object_meta.location.to_string());
            names.push(first.unwrap_or_default());
            bytes += files.map(|file| file.effective_size()).sum::<u64>();
        }
        if largest.as_ref().is_none_or(|(most, _)| bytes > *most) {
            largest = Some((bytes, names));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok()?;
    largest.map(|(_, names)| names)
}

/// One of `urls` for each of `files`, by rendezvous hashing: when an executor comes or goes, most files stay where they
/// are. None gets more than its share, rounded up.
fn assign(files: &[String], urls: &[Url]) -> Vec<Url> {
    let share = files.len().div_ceil(urls.len());
    let mut loads: HashMap<&Url, usize> = HashMap::new();
    let mut seen: HashMap<&String, u64> = HashMap::new();
    let assigned = files.iter().map(|file| {
        // The parts of one file that several tasks read go to different executors, always the same ones.
        let part = seen.entry(file).and_modify(|part| *part += 1).or_insert(0);
        let mut ranked: Vec<&Url> = urls.iter().collect();
        ranked.sort_by_key(|url| std::cmp::Reverse(rank(file, *part, url)));
        let free = ranked
            .iter()
            .find(|url| loads.get(**url).is_none_or(|load| *load < share));
        let url = *free.unwrap_or(&ranked[0]);
        *loads.entry(url).or_default() += 1;
        url.clone()
    });
    assigned.collect()
}

fn rank(file: &str, part: u64, url: &Url) -> u64 {
    let mut hasher = DefaultHasher::new();
    (file, part, url.as_str()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(count: usize) -> Vec<Url> {
        let url = |index| Url::parse(&format!("http://executor-{index}:31417")).unwrap();
        (0..count).map(url).collect()
    }

    #[test]
    fn the_load_is_even_and_files_stay_where_they_were() {
        let files: Vec<String> = (0..64).map(|index| format!("table/{index}.parquet")).collect();
        let before = assign(&files, &urls(4));
        assert_eq!(before, assign(&files, &urls(4)));
        for url in urls(4) {
            assert_eq!(before.iter().filter(|assigned| **assigned == url).count(), 16);
        }
        let after = assign(&files, &urls(5));
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .count();
        assert!(
            moved < 40,
            "{moved} of 64 files moved to make room for one executor more"
        );
    }

    #[test]
    fn parts_of_one_file_are_spread() {
        let parts = vec!["one.parquet".to_owned(); 4];
        let mut assigned = assign(&parts, &urls(4));
        assigned.sort();
        assert_eq!(assigned, urls(4));
        assert_eq!(assign(&parts, &urls(1)), vec![urls(1)[0].clone(); 4]);
    }
}
