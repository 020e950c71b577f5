//! The name that was probably meant, of those that there are.

/// More candidates are not compared: a hint must not take long.
const CANDIDATES_MAX: usize = 10_000;
/// Longer names are not compared.
const NAME_CHARS_MAX: usize = 128;

/// The candidate that differs least from `name`, if it differs by a slip: a letter in three at most.
pub(crate) fn meant<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let slips_max = wanted.chars().count().div_ceil(3);
    if wanted.chars().count() > NAME_CHARS_MAX {
        return None;
    }
    let candidates = candidates.into_iter().take(CANDIDATES_MAX);
    let near = candidates.filter(|candidate| candidate.len() <= wanted.len() + 4 * slips_max);
    let slips = near.map(|candidate| (strsim::osa_distance(&wanted, &candidate.to_lowercase()), candidate));
    slips
        .filter(|(slips, candidate)| *slips <= slips_max && *slips < candidate.chars().count())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_names_are_not() {
        let names = ["orders", "customers", "id", "Region"];
        let check = |name: &str, expect: Option<&str>| assert_eq!(meant(name, names), expect, "{name}");
        check("order", Some("orders"));
        check("roders", Some("orders"));
        check("ORDRES", Some("orders"));
        check("regoin", Some("Region"));
        check("costumer", Some("customers"));
        check("ic", Some("id"));
        check("supplier", None);
        check("x", None);
        check("", None);
        check(&"orders".repeat(1000), None);
    }
}
