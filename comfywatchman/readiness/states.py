"""The states of a model reference, of the search for a model, and of a workflow."""

from __future__ import annotations

from enum import StrEnum


class ModelState(StrEnum):
    """The state of a model reference on this host; the server accepts only `EXACT`."""

    EXACT = "exact"
    SEPARATOR = "separator"
    CASE = "case"
    NORMALISATION = "normalisation"
    SUBFOLDER = "subfolder"
    WRONG_FOLDER = "wrong_folder"
    FOLDER_UNKNOWN = "folder_unknown"
    INVALID = "present_but_invalid"
    UNRESOLVABLE = "unresolvable_value"
    UNKNOWN = "unknown"
    MISSING = "missing"


MODEL_STATE_TEXT = {
    ModelState.EXACT: "there",
    ModelState.SEPARATOR: "there, but written with another separator",
    ModelState.NORMALISATION: "there, but spelt with other Unicode characters",
    ModelState.CASE: "there, but in other letter case",
    ModelState.SUBFOLDER: "there, but in another subfolder",
    ModelState.WRONG_FOLDER: "not in this folder, but in another",
    ModelState.FOLDER_UNKNOWN: "there, but perhaps not where the node looks",
    ModelState.INVALID: "there, but broken",
    ModelState.UNRESOLVABLE: "not the name of a file",
    ModelState.UNKNOWN: "not known to be there or missing, because it could not be looked for",
    ModelState.MISSING: "missing",
}
"""Each state for people, as the end of a sentence that begins with "The model is"."""

LOCALLY_FIXABLE_STATES = frozenset(
    {ModelState.SEPARATOR, ModelState.NORMALISATION, ModelState.CASE, ModelState.SUBFOLDER, ModelState.WRONG_FOLDER}
)
"""States that can be fixed without a download: a file that may be the model is here."""

SEARCHED_STATES = frozenset({ModelState.MISSING, ModelState.INVALID})
"""States that only another file can fix; models in other states are not searched."""

UNDECIDED_STATES = frozenset({ModelState.UNRESOLVABLE, ModelState.FOLDER_UNKNOWN, ModelState.UNKNOWN})
"""States in which it is not known whether the model is missing."""


class SearchDoubt(StrEnum):
    """Why the result of a search is uncertain; where several reasons hold, the first of this list counts."""

    UNREADABLE_ANSWER = "unreadable_answer"
    """A site sent something that cannot be read, which may be the file; it is searched again within the hour."""
    CANDIDATES_TO_CHOOSE = "candidates_to_choose"
    """There are files that may be the model, and a person can choose one."""
    CANDIDATES_NOT_USABLE = "candidates_not_usable"
    """There are files that may be the model, but none can be verified or may be downloaded."""
    ACCESS_RESTRICTED = "access_restricted"
    """The file is there, but this account may not fetch it: terms to accept, early access, disabled downloads."""
    ARCHIVED_BY_AUTHOR = "archived_by_author"
    TAKEN_DOWN = "taken_down"
    """The site has taken the model down."""
    PRIVATE_OR_GONE = "private_or_gone"
    """The site shows the declared place to nobody or not to this account (401, 403, 404)."""
    HASH_NOT_SHOWN = "hash_not_shown"
    """A site knows the declared hash, but shows no file that has it."""
    CUT_SEARCH = "cut_search"
    """A site has more results than were read."""
    NO_MATCH = "no_match_under_these_words"
    """A search by words found no file of this name, which does not prove that there is none."""
    NOT_ASKED = "not_asked"
    """No site was searched, because the name gives no words to search for."""


NO_RESULT_DOUBTS = frozenset({SearchDoubt.NO_MATCH, SearchDoubt.NOT_ASKED})
"""Doubts of a search that led to nothing: there is neither a candidate nor an obstacle to look at."""

SEARCH_DOUBT_TEXT = {
    SearchDoubt.UNREADABLE_ANSWER: "a site's answer could not be read completely",
    SearchDoubt.CANDIDATES_TO_CHOOSE: "candidates to choose from",
    SearchDoubt.CANDIDATES_NOT_USABLE: "no candidate can be chosen",
    SearchDoubt.ACCESS_RESTRICTED: "access is restricted",
    SearchDoubt.ARCHIVED_BY_AUTHOR: "archived by its author",
    SearchDoubt.TAKEN_DOWN: "taken down by its site",
    SearchDoubt.PRIVATE_OR_GONE: "private or gone",
    SearchDoubt.HASH_NOT_SHOWN: "the site does not show the file with this hash",
    SearchDoubt.CUT_SEARCH: "more results than were read",
    SearchDoubt.NO_MATCH: "not found under these words",
    SearchDoubt.NOT_ASKED: "not searched: the name gives no words to search for",
}
"""Each doubt for people, in a few words."""


class NodeRemedy(StrEnum):
    """What a person does about a node class that ComfyUI does not have."""

    INSTALL_PACK = "install_pack"
    CHOOSE_PACK = "choose_pack"
    UPDATE_PACK = "update_pack"
    ENABLE_PACK = "enable_pack"
    REPLACE_NODE = "replace_node"
    UPDATE_COMFYUI = "update_comfyui"


class WorkflowStatus(StrEnum):
    """The verdict on a workflow: whether it runs on this host."""

    READY = "READY"
    MISSING = "MISSING"
    UNCERTAIN = "UNCERTAIN"
    INVALID = "INVALID"
