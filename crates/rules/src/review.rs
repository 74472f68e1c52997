//! What time does to a policy.

use crate::{finding::Finding, places::Places};
use portreeve_core::{node::Node, policy::Bundle, time::Millis};

/// Warnings of purposes and agents whose review is overdue at `today`, or due within two weeks
#[must_use]
pub fn reviews(bundle: &Bundle, places: &Places, today: Millis) -> Vec<Finding> {
    let purposes = bundle.purposes.iter().map(|(name, purpose)| {
        (Node::Purpose(name.clone()), purpose.review_by, &purpose.owner, "no new task opens this purpose")
    });
    let agents = bundle
        .agents
        .iter()
        .map(|(name, agent)| (Node::Agent(name.clone()), agent.review_by, &agent.owner, "this agent opens no task"));
    let due = purposes.chain(agents).filter_map(|(node, by, owner, then)| {
        let (left, place) = (by?.since(today), places.reviews.get(&node)?);
        let message = if left <= 0 {
            format!("the review is overdue, so {then}")
        } else if left <= SOON_MS {
            // The day itself still counts: what is left ends with it.
            let days = (left - 1).div_euclid(DAY_MS);
            let when = match days {
                0 => "today".to_owned(),
                1 => "tomorrow".to_owned(),
                days => format!("in {days} days"),
            };
            format!("the review is due {when}; after that {then}")
        } else {
            return None;
        };
        let remedy = format!("{owner} reviews it and moves `review_by`");
        Some(Finding::warning(place.clone(), message, remedy))
    });
    due.collect()
}

const DAY_MS: i64 = 86_400_000;
/// From two weeks before the day a review is announced
const SOON_MS: i64 = 15 * DAY_MS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Files, compile};

    fn said(today: &str) -> Vec<String> {
        let purpose = "about = \"Look\"\nowner = \"a@example.com\"\nreview_by = 2027-03-01\n\
            open = { agents = [\"bot\"], users = \"none\" }\ntask = { expires_after = \"1h\", standing = [\"read\"] }\n\
            [[allow]]\nname = \"look\"\nuse = [\"shop.look\"]\n";
        let files: Files = [
            ("agents/bot.toml", "owner = \"a@example.com\"\nreview_by = 2027-04-01\n"),
            ("connectors/shop.toml", "command = [\"s\"]\n[tools.look]\nclass = \"read\"\n"),
            ("purposes/x.toml", purpose),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into_iter()
        .collect();
        let loaded = compile(&files).unwrap();
        let today = crate::case::millis(today).unwrap();
        reviews(&loaded.bundle, &Places::of(&files), today).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn are_announced_two_weeks_before_the_day() {
        assert_eq!(said("2027-02-14T23:59:59Z"), Vec::<String>::new());
        let due = said("2027-02-15T00:00:00Z").join("");
        assert!(due.starts_with("warning: purposes/x.toml:3:13: the review is due in 14 days"), "{due}");
        assert!(said("2027-02-28T12:00:00Z").join("").contains("due tomorrow"));
        assert!(said("2027-03-01T12:00:00Z").join("").contains("due today"));
        // The day itself still counts.
        assert!(said("2027-03-02T00:00:00Z").join("").contains("overdue"));
        let both = said("2027-04-02T00:00:00Z");
        let agent = "agents/bot.toml:2:13: the review is overdue, so this agent opens no task";
        assert!(both.len() == 2 && both.join("").contains(agent), "{both:?}");
    }
}
