//! What the people of the sample population have, are measured for, and are given, in the codes of SNOMED CT, ICD-10-CM,
//! LOINC, RxNorm, CVX and UCUM.

/// A quantity that is measured. Amounts are counted in units of ten to the minus `digits`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measure {
    /// LOINC.
    pub(super) code: &'static str,
    pub(super) display: &'static str,
    /// UCUM.
    pub(super) unit: &'static str,
    pub(super) digits: u32,
    /// The reference range.
    pub(super) low: Option<i64>,
    pub(super) high: Option<i64>,
}

const fn measure(
    code: &'static str,
    display: &'static str,
    unit: &'static str,
    digits: u32,
    low: Option<i64>,
    high: Option<i64>,
) -> Measure {
    Measure { code, display, unit, digits, low, high }
}

pub(super) const SYSTOLIC: Measure = measure("8480-6", "Systolic blood pressure", "mm[Hg]", 0, Some(90), Some(130));
pub(super) const DIASTOLIC: Measure = measure("8462-4", "Diastolic blood pressure", "mm[Hg]", 0, Some(60), Some(85));
pub(super) const HEIGHT: Measure = measure("8302-2", "Body height", "cm", 0, None, None);
pub(super) const WEIGHT: Measure = measure("29463-7", "Body weight", "kg", 1, None, None);
pub(super) const BMI: Measure = measure("39156-5", "Body mass index (BMI) [Ratio]", "kg/m2", 1, Some(185), Some(250));
pub(super) const HEART_RATE: Measure = measure("8867-4", "Heart rate", "/min", 0, Some(60), Some(100));
pub(super) const TEMPERATURE: Measure = measure("8310-5", "Body temperature", "Cel", 1, Some(361), Some(378));

const HBA1C: Measure = measure("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 1, Some(40), Some(57));
const LDL: Measure = measure(
    "18262-6",
    "Cholesterol in LDL [Mass/volume] in Serum or Plasma by Direct assay",
    "mg/dL",
    0,
    None,
    Some(130),
);
const TSH: Measure =
    measure("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", 2, Some(40), Some(400));
const CREATININE: Measure =
    measure("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 2, Some(60), Some(120));
const HEMOGLOBIN: Measure = measure("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 1, Some(120), Some(160));

/// What a laboratory finds in somebody with a problem: the measure and the range of its values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Finding {
    pub(super) measure: Measure,
    pub(super) low: i64,
    pub(super) high: i64,
}

/// A prescribed medicine.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drug {
    /// RxNorm.
    pub(super) code: &'static str,
    pub(super) display: &'static str,
    /// How many, how often a day.
    pub(super) dose: u64,
    pub(super) times_a_day: u64,
    /// How many days' supply.
    pub(super) days: u64,
}

/// A disease or injury.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Problem {
    /// SNOMED CT.
    pub(super) snomed: &'static str,
    pub(super) display: &'static str,
    /// ICD-10-CM.
    pub(super) icd10: &'static str,
    /// Who can have it: from this age to this age, in years.
    pub(super) ages: (i64, i64),
    /// How many percent of these have it. For acute problems: the share among all acute problems does not matter, 0.
    pub(super) percent: i64,
    pub(super) drug: Option<Drug>,
    pub(super) finding: Option<Finding>,
}

const fn drug(code: &'static str, display: &'static str, dose: u64, times_a_day: u64, days: u64) -> Drug {
    Drug { code, display, dose, times_a_day, days }
}

const fn finding(measure: Measure, low: i64, high: i64) -> Finding {
    Finding { measure, low, high }
}

/// A chronic problem, without medicine or laboratory.
const fn chronic(
    snomed: &'static str,
    display: &'static str,
    icd10: &'static str,
    ages: (i64, i64),
    percent: i64,
) -> Problem {
    Problem { snomed, display, icd10, ages, percent, drug: None, finding: None }
}

/// An acute problem and its medicine.
const fn acute(
    snomed: &'static str,
    display: &'static str,
    icd10: &'static str,
    ages: (i64, i64),
    drug: Option<Drug>,
) -> Problem {
    Problem { snomed, display, icd10, ages, percent: 0, drug, finding: None }
}

/// SNOMED CT's code for hypertension: whoever has it has a higher blood pressure.
pub(super) const HYPERTENSION: &str = "38341003";

/// Problems that stay.
pub(super) const CHRONIC: [Problem; 12] = [
    Problem {
        drug: Some(drug("197361", "Amlodipine 5 MG Oral Tablet", 1, 1, 90)),
        finding: Some(finding(CREATININE, 70, 150)),
        ..chronic(HYPERTENSION, "Hypertensive disorder, systemic arterial (disorder)", "I10", (35, 120), 38)
    },
    Problem {
        drug: Some(drug("860975", "24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet", 1, 2, 90)),
        finding: Some(finding(HBA1C, 62, 98)),
        ..chronic("44054006", "Diabetes mellitus type 2 (disorder)", "E11.9", (30, 120), 14)
    },
    Problem {
        drug: Some(drug("312961", "Simvastatin 20 MG Oral Tablet", 1, 1, 90)),
        finding: Some(finding(LDL, 96, 189)),
        ..chronic("55822004", "Hyperlipidemia (disorder)", "E78.5", (35, 120), 26)
    },
    Problem {
        finding: Some(finding(TSH, 120, 910)),
        ..chronic("40930008", "Hypothyroidism (disorder)", "E03.9", (25, 120), 7)
    },
    Problem {
        drug: Some(drug("198014", "Naproxen 500 MG Oral Tablet", 1, 2, 30)),
        ..chronic("239873007", "Osteoarthritis of knee (disorder)", "M17.10", (50, 120), 18)
    },
    Problem {
        drug: Some(drug("855332", "Warfarin Sodium 5 MG Oral Tablet", 1, 1, 90)),
        ..chronic("49436004", "Atrial fibrillation (disorder)", "I48.91", (60, 120), 10)
    },
    Problem {
        drug: Some(drug("197319", "Allopurinol 100 MG Oral Tablet", 1, 1, 90)),
        ..chronic("90560007", "Gout (disorder)", "M10.9", (40, 120), 6)
    },
    Problem {
        drug: Some(drug("310325", "Ferrous sulfate 325 MG Oral Tablet", 1, 1, 60)),
        finding: Some(finding(HEMOGLOBIN, 92, 124)),
        ..chronic("271737000", "Anemia (disorder)", "D64.9", (14, 120), 6)
    },
    chronic("195967001", "Asthma (disorder)", "J45.909", (4, 120), 9),
    chronic("35489007", "Depressive disorder (disorder)", "F32.A", (14, 120), 10),
    chronic("37796009", "Migraine (disorder)", "G43.909", (12, 70), 9),
    chronic("13645005", "Chronic obstructive lung disease (disorder)", "J44.9", (50, 120), 7),
];

const IBUPROFEN: Option<Drug> = Some(drug("310965", "Ibuprofen 200 MG Oral Tablet", 2, 3, 7));
const ACETAMINOPHEN: Option<Drug> = Some(drug("313782", "Acetaminophen 325 MG Oral Tablet", 2, 3, 5));
const AMOXICILLIN: Option<Drug> = Some(drug("308182", "Amoxicillin 250 MG Oral Capsule", 1, 3, 10));

/// Problems that pass.
pub(super) const ACUTE: [Problem; 8] = [
    acute("195662009", "Acute viral pharyngitis (disorder)", "J02.9", (2, 120), None),
    acute("10509002", "Acute bronchitis (disorder)", "J20.9", (2, 120), ACETAMINOPHEN),
    acute("444814009", "Viral sinusitis (disorder)", "J01.90", (5, 120), None),
    acute("65363002", "Otitis media (disorder)", "H66.90", (0, 12), AMOXICILLIN),
    acute("43878008", "Streptococcal sore throat (disorder)", "J02.0", (3, 40), AMOXICILLIN),
    acute("44465007", "Sprain of ankle (disorder)", "S93.409A", (6, 80), IBUPROFEN),
    acute("38822007", "Cystitis (disorder)", "N30.90", (16, 120), None),
    acute("62106007", "Concussion with no loss of consciousness (disorder)", "S06.0X0A", (6, 120), ACETAMINOPHEN),
];

/// A vaccine: CVX code, name, and the ages in years at which it is given.
pub(super) type Vaccine = (&'static str, &'static str, (i64, i64));

pub(super) const VACCINES: [Vaccine; 9] = [
    ("140", "Influenza, seasonal, injectable, preservative free", (1, 120)),
    ("113", "Td (adult), 5 Lf tetanus toxoid, preservative free, adsorbed", (19, 120)),
    ("133", "Pneumococcal conjugate PCV 13", (65, 120)),
    ("121", "Zoster live", (50, 120)),
    ("115", "Tdap", (11, 18)),
    ("03", "MMR", (1, 6)),
    ("21", "Varicella", (1, 6)),
    ("20", "DTaP", (0, 6)),
    ("10", "IPV", (0, 6)),
];

/// An allergy: SNOMED CT code and name of the substance, `AllergyIntolerance.category`, and SNOMED CT code and name of
/// the reaction.
pub(super) type Allergy = (&'static str, &'static str, &'static str, &'static str, &'static str);

pub(super) const ALLERGIES: [Allergy; 6] = [
    ("764146007", "Penicillin (substance)", "medication", "247472004", "Wheal (finding)"),
    ("387458008", "Aspirin (substance)", "medication", "56018004", "Wheezing (finding)"),
    ("762952008", "Peanut (substance)", "food", "39579001", "Anaphylaxis (disorder)"),
    ("735029006", "Shellfish (substance)", "food", "247472004", "Wheal (finding)"),
    ("256277009", "Grass pollen (substance)", "environment", "162367006", "Itching of eye (finding)"),
    ("111088007", "Latex (substance)", "environment", "40275004", "Contact dermatitis (disorder)"),
];
