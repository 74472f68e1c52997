//! `portreeve reviews` and `portreeve review`

use crate::{cli::Cli, commands::login, failure::Failure, output};
use http::Method;
use portreeve_core::names::{Name, TaskId};
use portreeve_gateway::office::view::ReviewView;
use serde_json::{Value, json};

pub(crate) async fn list(cli: &Cli) -> Result<u8, Failure> {
    let answer = login::client(cli).await?.ask(Method::GET, "/v1/reviews", None).await?;
    if cli.json {
        output::json(&answer);
        return Ok(0);
    }
    let reviews: Vec<ReviewView> = read(&answer)?;
    if reviews.is_empty() {
        output::line("nothing waits for a review");
        return Ok(0);
    }
    let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    let row = |review: &ReviewView| {
        vec![
            review.task.to_string(),
            if review.live { "live" } else { "over" }.to_owned(),
            review.purpose.to_string(),
            review.opener.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            names(&review.approvers),
            review.calls.to_string(),
            review.review.to_string(),
            output::time(review.opened),
        ]
    };
    let rows: Vec<Vec<String>> = reviews.iter().map(row).collect();
    output::table(&["TASK", "STATE", "PURPOSE", "OPENED BY", "AGREED", "CALLS", "REVIEWED BY", "OPENED"], &rows);
    output::tip("look at one: portreeve audit show TASK; close it: portreeve review TASK --why TEXT");
    Ok(0)
}

fn read(answer: &Value) -> Result<Vec<ReviewView>, Failure> {
    let reviews = answer.get("reviews").cloned().unwrap_or_default();
    serde_json::from_value(reviews).map_err(|error| Failure::from(anyhow::Error::from(error)))
}

pub(crate) async fn close(cli: &Cli, task: TaskId, why: &str, by: Option<&Name>) -> Result<u8, Failure> {
    let client = login::client(cli).await?;
    let body = json!({ "why": why, "as": by });
    let answer = client.ask(Method::POST, &format!("/v1/reviews/{task}"), Some(&body)).await?;
    if cli.json {
        output::json(&answer);
    } else {
        let who = answer.get("reviewed_by").and_then(Value::as_str).unwrap_or_default();
        output::line(&format!("{task}: the review is closed by {who}"));
    }
    Ok(0)
}
