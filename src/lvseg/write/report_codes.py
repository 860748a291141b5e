"""The terms of our structured report: PS3.16, and a scheme of our own for what it does not name.

Names are those of the ventricular analysis of CT and MR (TID 3920 with CID 3833 and 3835) and of
cardiac phases (CID 12233); units are UCUM (PS3.16 7.2.2).
"""

from __future__ import annotations

from lvseg.labels import CodedConcept

__all__ = [
    "AFTER_R_WAVE",
    "CARDIAC_MRI",
    "COMMENT",
    "CYCLE_POINT",
    "END_DIASTOLE",
    "END_SYSTOLE",
    "ENGLISH",
    "EVALUATIONS",
    "INCLUDED",
    "LEFT_VENTRICLE",
    "MEASURED",
    "ML",
    "ML_S",
    "MS",
    "ONE",
    "ORDER",
    "OURS",
    "PAPILLARY",
    "RESEARCH",
    "SUM_OF_DISCS",
    "VALUES",
    "VERDICT",
    "VERDICTS",
    "VOLUME",
]

#: Codes of our own (PS3.16 section 8.2: private designators begin with 99).
OURS = "99LVSEG"

ML = CodedConcept("ml", "UCUM", "milliliter")
MS = CodedConcept("ms", "UCUM", "millisecond")
ONE = CodedConcept("1", "UCUM", "no units")
ML_S = CodedConcept("ml/s", "UCUM", "milliliter per second")
#: Field of the measurements -> name, unit and decimals, in the order of the report.
VALUES: tuple[tuple[str, CodedConcept, CodedConcept, int], ...] = (
    ("edv_ml", CodedConcept("8821-1", "LN", "Left Ventricular ED Volume"), ML, 2),
    ("esv_ml", CodedConcept("8823-7", "LN", "Left Ventricular ES Volume"), ML, 2),
    ("sv_ml", CodedConcept("90096001", "SCT", "Stroke Volume"), ML, 2),
    (
        "ef_percent",
        CodedConcept("8811-2", "LN", "Left ventricular ejection fraction by MR"),
        CodedConcept("%", "UCUM", "Percent"),
        2,
    ),
    (
        "heart_rate_bpm",
        CodedConcept("8867-4", "LN", "Heart rate"),
        CodedConcept("{H.B.}/min", "UCUM", "heart beat per minute"),
        1,
    ),
    (
        "cardiac_output_l_min",
        CodedConcept("82799009", "SCT", "Cardiac Output"),
        CodedConcept("l/min", "UCUM", "liter per minute"),
        2,
    ),
    ("peak_ejection_rate_ml_s", CodedConcept("122616", "DCM", "Peak Ejection Rate"), ML_S, 1),
    ("peak_filling_rate_ml_s", CodedConcept("122618", "DCM", "Peak Filling Rate"), ML_S, 1),
)
VOLUME = CodedConcept("118565006", "SCT", "Volume")
SUM_OF_DISCS = CodedConcept(
    "122503", "DCM", "Integration of sum of closed areas on contiguous slices"
)
CYCLE_POINT = CodedConcept("272518008", "SCT", "Cardiac Cycle Point")
END_DIASTOLE = CodedConcept("416190007", "SCT", "End diastole")
END_SYSTOLE = CodedConcept("416430001", "SCT", "End Systole")
AFTER_R_WAVE = CodedConcept("122666", "DCM", "Time relative to R-wave peak")
ORDER = CodedConcept("126073", "DCM", "Time Point Order")
PAPILLARY = CodedConcept("122670", "DCM", "Papillary Muscle Included/Excluded")
INCLUDED = CodedConcept("122621", "DCM", "Papillary Muscle Included")
LEFT_VENTRICLE = CodedConcept("87878005", "SCT", "Left ventricle")
CARDIAC_MRI = CodedConcept("241620005", "SCT", "Cardiac MRI")
ENGLISH = CodedConcept("en", "RFC5646", "English")
MEASURED = CodedConcept("126010", "DCM", "Imaging Measurements")
EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT = CodedConcept("121106", "DCM", "Comment")
VERDICT = CodedConcept("verdict", OURS, "Verdict of automatic checks")
VERDICTS = {
    "pass": CodedConcept("pass", OURS, "Pass: no check objects"),
    "review": CodedConcept("review", OURS, "Review: a person should look"),
    "fail": CodedConcept("fail", OURS, "Fail: a result is missing or must not be used"),
}
RESEARCH = "For research use only. Made by a program, not seen by a person."
