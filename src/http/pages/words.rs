//! Scopes in plain words.

use crate::auth::consent::{Item, Offer, kind_of};
use crate::auth::scope::{ADMIN, INTROSPECT, Letters, Level, MAKE_LAUNCH, ResourceScope, Scope};

/// Types in the words of people. Any other is called by its own name.
const TYPES: [(&str, &str); 40] = [
    ("Account", "Accounts"),
    ("AllergyIntolerance", "Allergies and intolerances"),
    ("Appointment", "Appointments"),
    ("AuditEvent", "The log of accesses"),
    ("Binary", "Files"),
    ("CarePlan", "Care plans"),
    ("CareTeam", "Care teams"),
    ("Claim", "Claims"),
    ("Communication", "Messages"),
    ("Condition", "Conditions and diagnoses"),
    ("Consent", "Consents"),
    ("Coverage", "Insurance coverage"),
    ("Device", "Devices and implants"),
    ("DiagnosticReport", "Reports of laboratory tests and imaging"),
    ("DocumentReference", "Documents and notes"),
    ("Encounter", "Visits and stays"),
    ("ExplanationOfBenefit", "Explanations of benefit"),
    ("FamilyMemberHistory", "Family history"),
    ("Flag", "Warnings"),
    ("Goal", "Goals"),
    ("Immunization", "Immunizations"),
    ("Location", "Places of care"),
    ("Medication", "Medications"),
    ("MedicationAdministration", "Medications given"),
    ("MedicationDispense", "Medications dispensed"),
    ("MedicationRequest", "Prescriptions"),
    ("MedicationStatement", "Medications taken"),
    ("Observation", "Test results, vital signs and other observations"),
    ("Organization", "Organizations"),
    ("Patient", "Name, birth date, address and other personal data"),
    ("Practitioner", "Practitioners"),
    ("PractitionerRole", "Roles of practitioners"),
    ("Procedure", "Procedures and operations"),
    ("Provenance", "Where data came from"),
    ("QuestionnaireResponse", "Answers to questionnaires"),
    ("RelatedPerson", "Family and other related persons"),
    ("Schedule", "Schedules"),
    ("ServiceRequest", "Orders and referrals"),
    ("Specimen", "Specimens"),
    ("Task", "Tasks"),
];

/// A part of the form: what is about the same data.
pub struct Group {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
}

/// One decision.
pub struct Line {
    /// The name of the field.
    pub(super) field: String,
    pub(super) title: String,
    pub(super) detail: String,
    /// `all`, `some` or nothing.
    pub(super) choice: &'static str,
    /// Narrower ones: field, title, whether it is ticked.
    pub(super) kinds: Vec<(String, &'static str, bool)>,
}

/// The name of the field for a scope.
pub fn field(scope: &str) -> String {
    format!("scope:{scope}")
}

/// An offer as parts of a form. `choice` tells what was chosen already, where the form comes a second time.
pub fn groups<'f>(offer: &Offer, patient: Option<&str>, choice: impl Fn(&str) -> Option<&'f str>) -> Vec<Group> {
    let is_first = choice_count(offer, &choice) == 0;
    let chosen = |scope: &str| match choice(scope) {
        Some("all") => "all",
        Some("some") => "some",
        _ if is_first => "all",
        _ => "",
    };
    let mut groups = [
        Group { title: format!("About {}", patient.unwrap_or("the patient")), lines: Vec::new() },
        Group { title: "About everybody whose data you may see".to_owned(), lines: Vec::new() },
        Group { title: "About you and this app".to_owned(), lines: Vec::new() },
    ];
    for item in &offer.items {
        let line = line(item, &chosen, &choice);
        let index = match &item.scope {
            Scope::Resource(scope) if scope.level == Level::Patient => 0,
            Scope::Resource(_) => 1,
            Scope::Named(_) => 2,
        };
        if let Some(group) = groups.get_mut(index) {
            group.lines.push(line);
        }
    }
    groups.into_iter().filter(|group| !group.lines.is_empty()).collect()
}

/// How many fields came with a form.
fn choice_count<'f>(offer: &Offer, choice: &impl Fn(&str) -> Option<&'f str>) -> usize {
    offer.items.iter().filter(|item| choice(&item.scope.to_string()).is_some()).count()
}

fn line<'f>(item: &Item, chosen: &impl Fn(&str) -> &'static str, choice: &impl Fn(&str) -> Option<&'f str>) -> Line {
    let scope = item.scope.to_string();
    let (title, detail) = title(&item.scope);
    let kinds = item.kinds.iter().map(|(title, kind)| {
        let kind = kind.to_string();
        let ticked = choice(&kind) == Some("all");
        (field(&kind), *title, ticked)
    });
    Line { field: field(&scope), title, detail, choice: chosen(&scope), kinds: kinds.collect() }
}

/// A scope in one sentence.
pub fn sentence(scope: &Scope) -> String {
    let (title, detail) = title(scope);
    let whose = match scope {
        Scope::Resource(scope) if scope.level == Level::Patient => " (one patient)",
        Scope::Resource(scope) if scope.level == Level::User => " (everybody you may see)",
        _ => return title,
    };
    format!("{title}: {}{whose}", detail.to_lowercase())
}

/// What a scope is about, and what it lets an app do.
fn title(scope: &Scope) -> (String, String) {
    match scope {
        Scope::Resource(scope) => (data(scope), verbs(scope.letters)),
        Scope::Named(name) => {
            let (title, detail) = named(name);
            (title.to_owned(), detail.to_owned())
        }
    }
}

fn named(name: &str) -> (&'static str, &'static str) {
    match name {
        "openid" => ("Sign you in to the app", "The app learns an identifier of your account."),
        "fhirUser" => ("Know which person you are", "The app is told your own record, such as your staff entry."),
        "profile" => ("Know your name", "And which record is yours."),
        "offline_access" => (
            "Stay connected when you are away",
            "Until you end it on the page of your apps, even when you are signed out.",
        ),
        "online_access" => ("Stay connected while you are signed in", "It ends when you sign out here."),
        ADMIN => ("Manage users, roles and clients", "All that an administrator of this server can do."),
        INTROSPECT => ("Look at all tokens", "For the operation of this server."),
        MAKE_LAUNCH => ("Open other apps", "The app can open others for you, with a patient of its choice."),
        _ => ("Know what it is opened for", "The patient or the visit."),
    }
}

/// What data a scope is for.
fn data(scope: &ResourceScope) -> String {
    if let Some(kind) = kind_of(scope) {
        return kind.to_owned();
    }
    let name = scope.type_name.as_deref();
    let title = name.map_or("All kinds of data", |name| {
        TYPES.iter().find(|(own, _)| *own == name).map_or(name, |(_, title)| title)
    });
    if scope.restriction.is_empty() { title.to_owned() } else { format!("{title}, only where {}", scope.restriction) }
}

fn verbs(letters: Letters) -> String {
    let known = [
        (Letters::READ | Letters::SEARCH, "read"),
        (Letters::CREATE, "add"),
        (Letters::UPDATE, "change"),
        (Letters::DELETE, "delete"),
    ];
    let verbs = known.into_iter().filter(|(own, _)| letters.meet(*own)).map(|(_, verb)| verb).collect::<Vec<_>>();
    let text = match &verbs[..] {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        one => one.concat(),
    };
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scope::Scopes;
    use crate::fhir::definitions::r4;

    #[test]
    fn scopes_have_words() {
        let words = |text: &str| Scopes::parse(text).iter().map(sentence).collect::<String>();
        assert_eq!(words("patient/Condition.read"), "Conditions and diagnoses: read (one patient)");
        assert_eq!(words("user/*.cruds"), "All kinds of data: read, add, change and delete (everybody you may see)");
        let laboratory = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
        let scope = format!("patient/Observation.rs?category={laboratory}");
        assert_eq!(words(&scope), "Laboratory results: read (one patient)");
        assert_eq!(words("patient/Elephant.rs patient/Endpoint.c"), "Endpoint: add (one patient)");
        assert_eq!(words("openid"), "Sign you in to the app");
    }

    #[test]
    fn only_types_have_words() {
        let unknown = TYPES.iter().filter(|(name, _)| !r4().is_resource_type(name)).collect::<Vec<_>>();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
