//! Help with words that are nearly right.

/// `did you mean ...?`, or all that there are if they are few
pub(crate) fn suggest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match (nearest(given, known.iter().copied()), known.as_slice()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "none is defined yet".to_owned(),
        (None, few) if few.len() <= 12 => format!("known here: {}", few.join(", ")),
        (None, _) => String::new(),
    }
}

/// The known word that a typing mistake would turn into `given`
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = given.chars().count() / 3 + 1;
    let distances = known.into_iter().map(|word| (distance(given, word), word));
    distances.filter(|(distance, _)| (1..=close.min(3)).contains(distance)).min().map(|(_, word)| word)
}

/// Changed, missing, surplus or swapped neighbouring characters between two words
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().take(64).collect(), right.chars().take(64).collect());
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (at(&row, j) + usize::from(a != b))
                .min(at(&row, j + 1) + 1)
                .min(next.last().map_or(0, |left| left + 1));
            let swapped = i > 0 && j > 0 && left.get(i - 1) == Some(b) && right.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        assert_eq!(nearest("expires_afer", ["idle_after", "expires_after"]), Some("expires_after"));
        assert_eq!(nearest("wehre", ["where", "when"]), Some("where"));
        assert_eq!(nearest("zebra", ["where", "when"]), None);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
