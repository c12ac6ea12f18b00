//! What somebody wants to see of the ledger: a period, and which entries of it.

use crate::audit::Record;
use crate::audit::reader::Period;
use crate::auth::form::Form;
use crate::clock::Micros;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The most days of a period.
const MOST_DAYS: i32 = 366;

/// The days of the period that nobody chose.
const USUAL_DAYS: i32 = 7;

/// The longest text of a field, in bytes.
const LONGEST: usize = 255;

/// How entries ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Any,
    Good,
    Refused,
    Failed,
}

impl Outcome {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Any, "", "any"),
        (Self::Good, "good", "done"),
        (Self::Refused, "refused", "refused"),
        (Self::Failed, "failed", "failed otherwise"),
    ];

    /// That of an HTTP status. Refused is who may not, is not known, or has to wait.
    pub const fn of(status: u16) -> Self {
        match status {
            401 | 403 | 429 => Self::Refused,
            0..=399 => Self::Good,
            _ => Self::Failed,
        }
    }
}

/// What was asked for, and the text of each field as it was typed.
#[derive(Debug, Clone)]
pub struct Filter {
    pub from: String,
    pub to: String,
    pub patient: String,
    pub user: String,
    pub client: String,
    pub outcome: Outcome,
    pub period: Period,
    /// The id of the account that `user` names.
    pub user_id: String,
}

impl Filter {
    /// Reads a form, or makes the usual period until today. `id_of` gives the id of the account with a name.
    ///
    /// # Errors
    /// What is wrong: a sentence.
    pub fn read(form: &Form, today: Date, id_of: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let text = |name: &str| form.get(name).unwrap_or_default().trim().to_owned();
        let (patient, user, client) = (text("patient"), text("user"), text("client"));
        let patient = patient.strip_prefix("Patient/").unwrap_or(&patient).to_owned();
        if [&patient, &user, &client].iter().any(|text| text.len() > LONGEST) {
            return Err("A patient, user or client has no such long id.".to_owned());
        }
        let day = |name: &str, usual: Date| match form.get(name) {
            None => Ok(usual),
            Some(text) => {
                text.trim().parse::<Date>().map_err(|_| format!("{text:?} is no day. Write it like 2026-12-31."))
            }
        };
        let to = day("to", today)?;
        let from = day("from", to.saturating_sub((USUAL_DAYS - 1).days()))?;
        let days = (to - from).get_days();
        if !(0..MOST_DAYS).contains(&days) {
            return Err(format!("A period has 1 to {MOST_DAYS} days, and begins before it ends."));
        }
        let outcome = text("outcome");
        let outcome =
            Outcome::ALL.into_iter().find(|(_, name, _)| *name == outcome).map_or(Outcome::Any, |(it, ..)| it);
        let user_id = id_of(&user).unwrap_or_else(|| user.clone());
        let period = Period { from: start_of(from), to: start_of(to.saturating_add(1.day())) };
        Ok(Self { from: from.to_string(), to: to.to_string(), patient, user, client, outcome, period, user_id })
    }

    /// Whether an entry is asked for.
    pub fn has(&self, time: Micros, record: &Record<'_>) -> bool {
        let agent = &record.shape.agent;
        let is = |wanted: &str, own: Option<&str>| wanted.is_empty() || own == Some(wanted);
        self.period.has(time)
            && is(&self.user_id, agent.user.as_deref())
            && is(&self.client, agent.client.as_deref())
            && (self.outcome == Outcome::Any || self.outcome == Outcome::of(record.shape.status))
            && (self.patient.is_empty() || is_about(record, &self.patient))
    }

    /// The fields as a form carries them on, without one.
    pub fn fields(&self, without: &str) -> Vec<(&'static str, &str)> {
        let outcome = self.outcomes().into_iter().find(|(.., is)| *is).map_or("", |(name, ..)| name);
        let all = [
            ("from", self.from.as_str()),
            ("to", self.to.as_str()),
            ("patient", self.patient.as_str()),
            ("user", self.user.as_str()),
            ("client", self.client.as_str()),
            ("outcome", outcome),
        ];
        all.into_iter().filter(|(name, value)| *name != without && !value.is_empty()).collect()
    }

    /// What the field for the outcome offers: value, words, and whether it is chosen.
    pub fn outcomes(&self) -> [(&'static str, &'static str, bool); 4] {
        Outcome::ALL.map(|(own, name, words)| (name, words, own == self.outcome))
    }

    /// The same as a search for AuditEvents: so is it recorded.
    pub fn query(&self) -> Vec<(String, String)> {
        let mut query = vec![
            ("date".to_owned(), format!("ge{}", self.period.from.to_instant())),
            ("date".to_owned(), format!("lt{}", self.period.to.to_instant())),
        ];
        let mut add = |name: &str, value: String| query.push((name.to_owned(), value));
        if !self.patient.is_empty() {
            add("patient", format!("Patient/{}", self.patient));
        }
        for id in [&self.user_id, &self.client].into_iter().filter(|id| !id.is_empty()) {
            add("altid", id.clone());
        }
        match self.outcome {
            Outcome::Any => {}
            Outcome::Good => add("outcome", "0".to_owned()),
            Outcome::Refused => add("outcome", "4".to_owned()),
            Outcome::Failed => add("outcome", "4,8".to_owned()),
        }
        query
    }
}

/// Whether a patient's data was given out or changed, or the patient is what was asked for.
fn is_about(record: &Record<'_>, patient: &str) -> bool {
    let content = &record.content;
    let is = |reference: &str| reference.strip_prefix("Patient/") == Some(patient);
    content.patients.iter().any(|own| **own == *patient)
        || content.target.as_deref().is_some_and(is)
        || content.changed.iter().any(|changed| is(&changed.what))
}

/// The day of a time, in UTC.
pub fn day_of(time: Micros) -> Date {
    let time = jiff::Timestamp::from_microsecond(time.0).unwrap_or_default();
    TimeZone::UTC.to_datetime(time).date()
}

fn start_of(day: Date) -> Micros {
    let time = TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight()));
    Micros(time.map_or(i64::MAX, jiff::Timestamp::as_microsecond))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Event;
    use crate::auth::agent::Agent;
    use std::borrow::Cow;

    fn filter(form: &str) -> Result<Filter, String> {
        let form = Form::parse(form.as_bytes()).ok().unwrap();
        Filter::read(&form, jiff::civil::date(2026, 3, 7), |name| (name == "eve").then(|| "u1".to_owned()))
    }

    #[test]
    fn a_period_is_whole_days() {
        let usual = filter("").unwrap();
        assert_eq!((usual.from.as_str(), usual.to.as_str()), ("2026-03-01", "2026-03-07"));
        assert_eq!(usual.period.from.to_instant(), "2026-03-01T00:00:00.000000Z");
        assert_eq!(usual.period.to.to_instant(), "2026-03-08T00:00:00.000000Z");
        assert_eq!(day_of(usual.period.to), jiff::civil::date(2026, 3, 8));
        let one = filter("from=2026-03-07&to=2026-03-07").unwrap();
        assert!(one.period.has(one.period.from) && !one.period.has(one.period.to));
        for wrong in ["from=2026-03-08&to=2026-03-07", "from=2025-01-01", "from=yesterday", "to=2026-02-30"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
        assert!(filter(&format!("patient={}", "p".repeat(300))).is_err());
    }

    #[test]
    fn entries_are_told_apart() {
        let agent = Agent { user: Some("u1".into()), ..Agent::client("app") };
        let mut record = Record::of(Event::Interaction("read".into()), Cow::Owned(agent)).ended(403);
        record.content.patients = vec!["p1".into()];
        record.content.target = Some("Patient/p2".into());
        let time = Micros(1_772_500_000_000_000);
        for (form, is) in [
            ("", true),
            ("user=eve", true),
            ("user=u1&client=app&patient=Patient/p1", true),
            ("patient=p2&outcome=refused", true),
            ("outcome=good", false),
            ("outcome=failed", false),
            ("user=u2", false),
            ("client=apple", false),
            ("patient=p", false),
            ("to=2026-03-01", false),
        ] {
            assert_eq!(filter(form).unwrap().has(time, &record), is, "{form}");
        }
    }
}
