//! `OperationOutcome`: issues as a resource, and a resource's issues read back.
//!
//! <https://hl7.org/fhir/R4/operationoutcome.html>

use super::tree::{Object, Value};
use crate::error::{Issue, Severity};

/// An `OperationOutcome` with these issues; with none, it says that all is well, since the resource requires one.
#[must_use]
pub fn outcome(issues: &[Issue]) -> Value<'_> {
    let list = match issues {
        [] => vec![crate::tree!({ "severity": "information", "code": "informational", "diagnostics": "All OK." })],
        some => some.iter().map(issue).collect(),
    };
    crate::tree!({ "resourceType": "OperationOutcome", "issue": (list) })
}

fn issue(issue: &Issue) -> Value<'_> {
    let mut object = Object::new();
    object.set("severity", severity_code(issue.severity).into());
    object.set("code", issue.code.into());
    object.set("diagnostics", (&*issue.diagnostics).into());
    if let Some(expression) = &issue.expression {
        object.set("expression", Value::Array(vec![expression.as_str().into()]));
    }
    object.into()
}

/// The code of <http://hl7.org/fhir/issue-severity>.
const fn severity_code(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Information => "information",
    }
}

/// One issue of an `OperationOutcome` that somebody else may have written; an absent element is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenIssue<'a> {
    /// A code of <http://hl7.org/fhir/issue-severity>.
    pub severity: &'a str,
    /// A code of <http://hl7.org/fhir/issue-type>.
    pub code: &'a str,
    /// `diagnostics`, else the text of `details`.
    pub diagnostics: &'a str,
    /// The first `expression`.
    pub expression: Option<&'a str>,
}

/// The issues of an `OperationOutcome`; none of any other resource.
#[must_use]
pub fn issues<'a>(resource: &'a Object<'_>) -> Vec<GivenIssue<'a>> {
    if resource.resource_type() != Some("OperationOutcome") {
        return Vec::new();
    }
    let list = resource.get("issue").map(Value::items).unwrap_or_default();
    list.iter().filter_map(Value::as_object).map(given_issue).collect()
}

fn given_issue<'a>(issue: &'a Object<'_>) -> GivenIssue<'a> {
    let text = || issue.get("details")?.get("text")?.as_str();
    GivenIssue {
        severity: issue.str("severity").unwrap_or_default(),
        code: issue.str("code").unwrap_or_default(),
        diagnostics: issue.str("diagnostics").or_else(text).unwrap_or_default(),
        expression: issue.get("expression").and_then(|list| list.items().first()?.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::write::to_vec;

    #[test]
    fn an_issue_names_severity_code_and_element() {
        let given = [Issue::error("required", "The element is missing.").at("Patient.contact[0].name")];
        let resource = outcome(&given);
        assert_eq!(
            String::from_utf8(to_vec(&resource)).unwrap(),
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"required","diagnostics":"The element is missing.","expression":["Patient.contact[0].name"]}]}"#
        );
        let back = issues(resource.as_object().unwrap());
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].severity, "error");
        assert_eq!(back[0].code, "required");
        assert_eq!(back[0].diagnostics, "The element is missing.");
        assert_eq!(back[0].expression, Some("Patient.contact[0].name"));
    }

    #[test]
    fn no_issue_still_makes_a_valid_outcome() {
        let resource = outcome(&[]);
        let back = issues(resource.as_object().unwrap());
        assert_eq!((back[0].severity, back[0].code), ("information", "informational"));
    }

    #[test]
    fn severities_and_order_are_kept() {
        let given = [Issue::warning("business-rule", "w"), Issue::information("informational", "i")];
        let resource = outcome(&given);
        let severities: Vec<_> = issues(resource.as_object().unwrap()).iter().map(|i| i.severity.to_owned()).collect();
        assert_eq!(severities, ["warning", "information"]);
    }

    #[test]
    fn only_an_outcome_has_issues_and_details_stand_in_for_diagnostics() {
        let patient = crate::tree!({ "resourceType": "Patient", "issue": [{ "severity": "error" }] });
        assert!(issues(patient.as_object().unwrap()).is_empty());
        let other =
            crate::tree!({ "resourceType": "OperationOutcome", "issue": [{ "details": { "text": "Not today." } }] });
        assert_eq!(issues(other.as_object().unwrap())[0].diagnostics, "Not today.");
    }
}
