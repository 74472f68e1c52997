//! A question, whole, on a terminal. Every text in it may be an attacker's and is shown as text.

use crate::output::{name, plain, time};
use portreeve_gateway::office::view::{About, HoldState, HoldView, QuestionView, Shown, StepView};

/// Where a question stands, in words
pub(crate) fn state(state: HoldState) -> &'static str {
    match state {
        HoldState::Open => "open",
        HoldState::Approved => "approved",
        HoldState::Declined => "declined",
        HoldState::Used => "used",
        HoldState::Done => "done",
        HoldState::Unknown => "unknown",
        HoldState::Over => "over",
    }
}

/// Who is asked
pub(crate) fn question(question: &QuestionView) -> String {
    let passkey = if question.passkey { " with a passkey" } else { "" };
    match question.people {
        1 => format!("somebody of {}{passkey}", question.who),
        people => format!("{people} people of {}{passkey}", question.who),
    }
}

/// All of it, in lines
pub(crate) fn whole(view: &HoldView, link: &str) -> Vec<String> {
    let mut lines = vec![format!("{}  {} until {}", view.code, state(view.state), time(view.until))];
    let mut line = |name: &str, text: &str| lines.push(format!("{name:<10} {}", plain(text)));
    let on_behalf = view.user.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
    let under = view.chain.iter().map(|agent| format!(", under {agent}")).collect::<String>();
    line("agent", &format!("{} for {on_behalf}{under}", view.agent));
    line("purpose", &format!("{}: {}", view.purpose, view.purpose_about));
    if let Some(task) = view.task {
        line("task", &task.to_string());
    }
    if let Some(objective) = &view.objective {
        line("objective", &format!("{} ({})", objective.value.as_deref().unwrap_or(ERASED), by(objective)));
    }
    for parameter in &view.parameters {
        line("parameter", &value(parameter));
    }
    lines.push(String::new());
    about(&view.about, &mut lines);
    lines.push(String::new());
    steps("so far", &view.steps, &mut lines);
    steps("the same", &view.earlier, &mut lines);
    let mut line = |name: &str, text: &str| lines.push(format!("{name:<10} {}", plain(text)));
    for asked in &view.questions {
        let step = asked.step.as_ref().map(|step| format!(", {step}")).unwrap_or_default();
        let so_far = format!("{} of {}", asked.so_far, asked.people);
        line("asked", &format!("{} ({}{step}): {so_far}", question(asked), asked.source));
    }
    for answer in &view.answers {
        let said = if answer.yes { "yes" } else { "no" };
        let counts = if answer.counts { "" } else { ", which does not count any more" };
        let why = answer.why.as_deref().filter(|why| !why.is_empty()).map(|why| format!(": {why}")).unwrap_or_default();
        line("answered", &format!("{said} by {} at {} ({}){counts}{why}", answer.user, time(answer.at), answer.how));
    }
    for reason in &view.not_by_you {
        line("not by you", &reason.to_string());
    }
    line("binding", &view.binding.to_string());
    line("console", link);
    lines
}

const ERASED: &str = "(the record keeps no value)";

fn about(about: &About, lines: &mut Vec<String>) {
    let mut line = |name: &str, text: &str| lines.push(format!("{name:<10} {}", plain(text)));
    match about {
        About::Call { tool, says, variants, class, arguments, target, label, undo, changes, credential } => {
            let names: Vec<&str> = variants.iter().map(portreeve_core::names::Name::as_str).collect();
            let variants = if names.is_empty() { String::new() } else { format!(" as {}", names.join(", ")) };
            line("would call", &format!("{tool} ({class}){variants}"));
            if let Some(says) = says {
                line("", &format!("its server says: {says}"));
            }
            for argument in arguments {
                line("  with", &value(argument));
            }
            if let Some(target) = target {
                line("about", target);
            }
            line("results", &format!("may be {label}"));
            for change in changes {
                line("change", &format!("{} {}", change.mark, change.text));
            }
            if let Some(of) = credential {
                let standing = if of.standing { ", a standing secret" } else { "" };
                line("credential", &format!("{} ({}){standing}; taken back: {}", of.source, of.kind, of.revocation));
            }
            match undo {
                Some(undo) => line("undo", undo),
                None => line("undo", "nothing takes it back: it cannot be undone"),
            }
        }
        About::Elevation { class, tools, values, times, lasts_ms, why } => {
            line("would open", &format!("{class} for {} calls within {}", times, lasting(*lasts_ms)));
            for tool in tools {
                line("  for", tool);
            }
            for shown in values {
                line("  with", &value(shown));
            }
            line("because", why.value.as_deref().unwrap_or(ERASED));
        }
        About::Opening { opener, break_glass, lasts_ms } => {
            let opener = opener.as_ref().map_or("nobody that the policy knows", portreeve_core::names::Name::as_str);
            line("would open", &format!("the task for {}, opened by {opener}", lasting(*lasts_ms)));
            if *break_glass {
                line("EMERGENCY", "a purpose for emergencies: recorded in full, and reviewed afterwards");
            }
        }
    }
}

fn steps(name: &str, steps: &[StepView], lines: &mut Vec<String>) {
    for step in steps {
        let text = format!("{} {} ({}) {} {}", time(step.at), step.tool, step.class, step.end, step.arguments);
        lines.push(format!("{name:<10} {}", plain(text.trim_end())));
    }
}

fn value(shown: &Shown) -> String {
    let changed = shown.changed.as_ref().map(|was| format!("; before: {was}")).unwrap_or_default();
    format!("{} = {} ({}{changed})", name(&shown.name), shown.value.as_deref().unwrap_or(ERASED), by(shown))
}

fn by(shown: &Shown) -> String {
    format!("chosen by: {}", shown.chosen_by)
}

fn lasting(ms: i64) -> String {
    let seconds = ms / 1_000;
    match (seconds / 3_600, seconds % 3_600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
