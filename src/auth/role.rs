//! Roles: what a user may do. Seven are built in, custom ones are kept.
//!
//! `docs/security.md` has the table of the built-in ones for people.

use super::keeper::{Expect, KeeperError};
use super::records::{self, Record, Role, User};
use super::scope::{Level, ResourceScope, Scope, Scopes};
use super::server::Server;
use super::user::{conflict, is_version, no_admin_left, unfit};
use crate::error::{Category, Error, Result};
use crate::tenant::TenantId;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The role that manages users, roles and clients.
pub const ADMIN: &str = "Admin";

/// The most characters of a role's name.
const MOST_CHARACTERS: usize = 64;

/// Custom roles of a tenant.
const MOST_ROLES: usize = 1_000;

/// What is of no patient, and read by all who read records. [`super::compartment`] has the rule.
const SHARED: [&str; 21] = [
    "ActivityDefinition",
    "CodeSystem",
    "ConceptMap",
    "Endpoint",
    "HealthcareService",
    "InsurancePlan",
    "Library",
    "Location",
    "Measure",
    "Medication",
    "NamingSystem",
    "Organization",
    "OrganizationAffiliation",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "SearchParameter",
    "StructureDefinition",
    "Substance",
    "ValueSet",
];

/// What is shared and tells who and where, for those who need no more of it.
const DIRECTORY: [&str; 7] = [
    "Endpoint",
    "HealthcareService",
    "Location",
    "Organization",
    "OrganizationAffiliation",
    "Practitioner",
    "PractitionerRole",
];

/// How resources are defined. An administrator sets them up.
const DEFINITIONS: [&str; 24] = [
    "ActivityDefinition",
    "CapabilityStatement",
    "ChargeItemDefinition",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "GraphDefinition",
    "ImplementationGuide",
    "InsurancePlan",
    "Library",
    "Measure",
    "MessageDefinition",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "PlanDefinition",
    "Questionnaire",
    "SearchParameter",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "TerminologyCapabilities",
    "ValueSet",
];

/// The record of a patient.
const CLINICAL: [&str; 60] = [
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "Basic",
    "Binary",
    "BodyStructure",
    "CarePlan",
    "CareTeam",
    "ClinicalImpression",
    "Communication",
    "CommunicationRequest",
    "Composition",
    "Condition",
    "Consent",
    "DetectedIssue",
    "Device",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "Encounter",
    "EpisodeOfCare",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "Group",
    "GuidanceResponse",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "List",
    "MeasureReport",
    "Media",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "MedicationStatement",
    "MolecularSequence",
    "NutritionOrder",
    "Observation",
    "Patient",
    "Person",
    "Procedure",
    "Provenance",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchSubject",
    "RiskAssessment",
    "Schedule",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "VisionPrescription",
];

/// What is billed and paid.
const FINANCIAL: [&str; 14] = [
    "Account",
    "ChargeItem",
    "Claim",
    "ClaimResponse",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "ExplanationOfBenefit",
    "Invoice",
    "PaymentNotice",
    "PaymentReconciliation",
];

/// What of their own record patients, and those who care for them, write.
const PATIENTS_WRITE: &str = "user/AppointmentResponse.c user/Communication.c user/QuestionnaireResponse.cu";

/// Conditions as a coder sees them: the diagnoses of an encounter.
const DIAGNOSES: &str =
    "user/Condition.rs?category=http://terminology.hl7.org/CodeSystem/condition-category|encounter-diagnosis";

static BUILT_IN: LazyLock<Vec<Role>> = LazyLock::new(built_in);

/// The roles that every tenant has, and that can't be changed.
fn built_in() -> Vec<Role> {
    let all = |types: &[&str], letters: &str| -> String {
        types.iter().fold(String::new(), |text, type_name| text + &format!("user/{type_name}.{letters} "))
    };
    let role = |name: &str, scopes: &[String]| Role {
        name: name.to_owned(),
        scopes: Scopes::parse(&scopes.concat()),
        own_patients: false,
        break_glass: false,
        is_admin: false,
        purpose_of_use: Vec::new(),
    };
    let own_record = [
        all(&CLINICAL, "rs"),
        all(&FINANCIAL, "rs"),
        all(&["AuditEvent"], "rs"),
        all(&SHARED, "rs"),
        PATIENTS_WRITE.to_owned(),
    ]
    .concat();
    let others = ["Patient", "Encounter", "RelatedPerson", "Appointment", "Procedure"];
    vec![
        Role {
            is_admin: true,
            ..role(ADMIN, &[all(&DEFINITIONS, "cruds"), all(&DIRECTORY, "cruds"), all(&["AuditEvent"], "rs")])
        },
        role("Clinical Director", &[all(&CLINICAL, "cruds"), all(&SHARED, "crus"), all(&FINANCIAL, "rs")]),
        Role {
            own_patients: true,
            break_glass: true,
            ..role("Provider", &[all(&CLINICAL, "crus"), all(&["Coverage"], "rs"), all(&SHARED, "rs")])
        },
        role(
            "Billing",
            &[
                all(&FINANCIAL, "crus"),
                all(&others, "rs"),
                all(&DIRECTORY, "rs"),
                all(&["InsurancePlan"], "rs"),
                DIAGNOSES.into(),
            ],
        ),
        role("Compliance Officer", &[all(&["AuditEvent", "Consent", "Provenance"], "rs"), all(&DIRECTORY, "rs")]),
        Role { own_patients: true, ..role("Patient", std::slice::from_ref(&own_record)) },
        Role { own_patients: true, ..role("Caregiver", &[own_record]) },
    ]
}

/// The roles of a tenant by name.
#[derive(Debug)]
pub struct Roles {
    custom: BTreeMap<String, Role>,
}

impl Roles {
    /// A role by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Role> {
        BUILT_IN.iter().find(|role| role.name == name).or_else(|| self.custom.get(name))
    }

    /// All: the built-in ones, then the custom ones by name.
    pub fn iter(&self) -> impl Iterator<Item = &Role> {
        BUILT_IN.iter().chain(self.custom.values())
    }

    /// Whether these roles make an administrator of a user, who may sign in.
    #[must_use]
    pub fn make_admin(&self, user: &User) -> bool {
        !user.disabled && user.roles.iter().filter_map(|name| self.get(name)).any(|role| role.is_admin)
    }
}

impl Server {
    /// The roles of a tenant.
    ///
    /// # Errors
    /// When the store fails.
    pub fn roles(&self, tenant: TenantId) -> Result<Roles, KeeperError> {
        let kept = self.keeper.list(tenant, Role::KIND, "", None, MOST_ROLES)?;
        let custom = kept.iter().map(|kept| Ok::<_, KeeperError>((kept.id.to_string(), records::read(&kept.bytes)?)));
        Ok(Roles { custom: custom.collect::<Result<_, _>>()? })
    }

    /// A user's roles as they are now. A name that is no role gives nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub fn roles_of(&self, tenant: TenantId, user: &User) -> Result<Vec<Role>, KeeperError> {
        let mut roles = Vec::with_capacity(user.roles.len());
        for name in &user.roles {
            let built_in = BUILT_IN.iter().find(|role| role.name == *name).cloned();
            roles.extend(match built_in {
                Some(role) => Some(role),
                None => records::get::<Role>(&*self.keeper, tenant, name)?.map(|(role, _)| role),
            });
        }
        Ok(roles)
    }

    /// Whether a user is an administrator now.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_admin(&self, tenant: TenantId, user: &User) -> Result<bool, KeeperError> {
        Ok(!user.disabled && self.roles_of(tenant, user)?.iter().any(|role| role.is_admin))
    }

    /// A custom role with its version, or a built-in one, whose version is 0.
    ///
    /// # Errors
    /// When the store fails.
    pub fn role(&self, tenant: TenantId, name: &str) -> Result<Option<(Role, u64)>, KeeperError> {
        match BUILT_IN.iter().find(|role| role.name == name) {
            Some(role) => Ok(Some((role.clone(), 0))),
            None if is_name(name) => records::get(&*self.keeper, tenant, name),
            None => Ok(None),
        }
    }

    /// Adds or replaces a custom role, which has this version if one is given: 0 for one that is not there yet. `check` looks at each
    /// scope: the search engine knows which restrictions mean something.
    ///
    /// # Errors
    /// 409 for the name of a built-in role and where no administrator would be left; 412 for another version; 422 for a name or a scope
    /// that can't be.
    pub async fn put_role(
        &self,
        tenant: TenantId,
        role: &Role,
        version: Option<u64>,
        check: &dyn Fn(&ResourceScope) -> Result<()>,
    ) -> Result<Role> {
        if !is_name(&role.name) {
            return Err(unfit("name", "A role's name has 1 to 64 letters, digits, spaces and signs of - _ . only."));
        }
        if BUILT_IN.iter().any(|own| own.name.eq_ignore_ascii_case(&role.name)) {
            return Err(conflict("A built-in role can't be changed.").at("name"));
        }
        for scope in role.scopes.iter() {
            match scope {
                Scope::Resource(scope) if scope.level == Level::User && !scope.is_v1 => check(scope)?,
                _ => return Err(not_a_scope(&scope.to_string())),
            }
        }
        self.guarded(tenant, || {
            let current = self.role(tenant, &role.name)?.map_or(0, |(_, version)| version);
            is_version(version, current)?;
            let mut roles = self.roles(tenant)?;
            if current == 0 && roles.custom.len() >= MOST_ROLES {
                return Err(unfit("name", format!("There can be {MOST_ROLES} custom roles at most.")));
            }
            let had_admin = self.any_user(tenant, |user| roles.make_admin(user))?;
            roles.custom.insert(role.name.clone(), role.clone());
            if had_admin && !self.any_user(tenant, |user| roles.make_admin(user))? {
                return Err(no_admin_left());
            }
            let expect = if current == 0 { Expect::Absent } else { Expect::Version(current) };
            Ok((vec![records::put(&role.name, role, expect, None)?], role.clone()))
        })
        .await
    }

    /// Removes a custom role that no user has.
    ///
    /// # Errors
    /// 404 for an unknown one, 412 for another version, 409 for a built-in one and for one that a user has.
    pub async fn remove_role(&self, tenant: TenantId, name: &str, version: Option<u64>) -> Result<()> {
        self.guarded(tenant, || {
            let unknown = || Error::new(Category::NotFound, "not-found", "There is no such role.");
            let (_, current) = self.role(tenant, name)?.ok_or_else(unknown)?;
            if current == 0 {
                return Err(conflict("A built-in role can't be removed."));
            }
            is_version(version, current)?;
            if self.any_user(tenant, |user| user.roles.iter().any(|own| own == name))? {
                return Err(conflict("There are users who have this role."));
            }
            Ok((vec![records::remove::<Role>(name, Expect::Version(current))], ()))
        })
        .await
    }
}

/// Reads the scopes of a custom role: `user/` scopes of version 2.
///
/// # Errors
/// 422 names the first that is none.
pub fn scopes(text: &str) -> Result<Scopes> {
    let is_one =
        |word: &&str| ResourceScope::parse(word).is_some_and(|scope| scope.level == Level::User && !scope.is_v1);
    match text.split_ascii_whitespace().find(|word| !is_one(word)) {
        Some(word) => Err(not_a_scope(word)),
        None => Ok(Scopes::parse(text)),
    }
}

fn not_a_scope(word: &str) -> Error {
    unfit("scopes", format!("{word:?} is no scope of a role, such as user/Observation.rs?category=laboratory."))
}

fn is_name(name: &str) -> bool {
    let is_fit = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    (1..=MOST_CHARACTERS).contains(&name.chars().count()) && name.chars().all(is_fit) && name.trim() == name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::definitions::r4;

    #[test]
    fn built_in_roles_have_every_scope_that_is_written_here() {
        let written = [&SHARED[..], &DIRECTORY, &DEFINITIONS, &CLINICAL, &FINANCIAL].concat();
        let unknown = written.into_iter().filter(|name| !r4().is_resource_type(name)).collect::<Vec<_>>();
        assert_eq!(unknown, [""; 0]);
        for text in [PATIENTS_WRITE, DIAGNOSES] {
            assert_eq!(scopes(text).unwrap().to_string(), text);
        }
        let names = BUILT_IN.iter().map(|role| &*role.name).collect::<Vec<_>>();
        let all = ["Admin", "Clinical Director", "Provider", "Billing", "Compliance Officer", "Patient", "Caregiver"];
        assert_eq!(names, all);
    }

    fn may(role: &str, scope: &str) -> bool {
        let role = BUILT_IN.iter().find(|own| own.name == role).unwrap();
        Scopes::parse(scope).are_within(&role.scopes)
    }

    #[test]
    fn built_in_roles_give_what_the_table_says() {
        assert!(may("Provider", "user/Observation.crus") && !may("Provider", "user/Observation.d"));
        assert!(may("Clinical Director", "user/Observation.cruds") && !may("Clinical Director", "user/Claim.c"));
        assert!(may("Billing", "user/Claim.crus") && may("Billing", "user/Patient.rs"));
        for scope in ["user/DocumentReference.r", "user/Observation.r", "user/Condition.rs", "user/Binary.r"] {
            assert!(!may("Billing", scope), "{scope}");
        }
        assert!(may("Compliance Officer", "user/AuditEvent.rs") && !may("Compliance Officer", "user/Patient.r"));
        assert!(may("Patient", "user/Observation.rs") && may("Patient", "user/QuestionnaireResponse.c"));
        assert!(!may("Patient", "user/Patient.u") && !may("Patient", "user/Consent.c"));
        assert!(may("Admin", "user/SearchParameter.cruds") && !may("Admin", "user/Patient.r"));
        assert!(may("Admin", "user/AuditEvent.rs") && !may("Provider", "user/AuditEvent.r"));
        for role in BUILT_IN.iter() {
            let writes_proof = ["user/AuditEvent.c", "user/AuditEvent.u", "user/AuditEvent.d"];
            assert!(writes_proof.iter().all(|scope| !may(&role.name, scope)), "{}", role.name);
        }
    }

    #[test]
    fn scopes_of_a_custom_role_are_understood_whole() {
        assert!(scopes("user/Observation.rs?category=laboratory user/Patient.r").is_ok());
        for text in ["patient/Observation.rs", "system/*.rs", "user/Observation.read", "openid", "user/Elephant.r"] {
            let error = scopes(&format!("user/Patient.r {text}")).unwrap_err();
            assert!(error.issues[0].diagnostics.contains(text), "{text}");
        }
    }
}
