"""All kinds of sentence, and how often each is drawn."""

from collections.abc import Callable

from seq2seq.data.sample_corpus.being import comparison, contrast, description, existence, possession
from seq2seq.data.sample_corpus.events import passive, placing, position, timetable
from seq2seq.data.sample_corpus.grammar import Grammar
from seq2seq.data.sample_corpus.infinitives import infinitive, pronoun_object, purpose
from seq2seq.data.sample_corpus.one_clause import (
    imperative,
    object_question,
    statement,
    subject_question,
    wh_question,
    yes_no_question,
)
from seq2seq.data.sample_corpus.relative_clauses import relative_person, relative_thing
from seq2seq.data.sample_corpus.sentence import Sentence
from seq2seq.data.sample_corpus.two_clauses import condition, coordination, report, subordinate

Template = Callable[[Grammar], Sentence]
TEMPLATES: tuple[tuple[Template, int], ...] = (
    (statement, 30),
    (yes_no_question, 7),
    (wh_question, 3),
    (object_question, 4),
    (subject_question, 3),
    (imperative, 3),
    (description, 5),
    (contrast, 4),
    (comparison, 5),
    (possession, 4),
    (existence, 3),
    (placing, 6),
    (position, 5),
    (passive, 5),
    (timetable, 3),
    (coordination, 3),
    (subordinate, 8),
    (condition, 4),
    (report, 7),
    (relative_person, 7),
    (relative_thing, 6),
    (infinitive, 4),
    (purpose, 4),
    (pronoun_object, 4),
)
WEIGHTED: tuple[Template, ...] = tuple(template for template, weight in TEMPLATES for _ in range(weight))
