"""GitLab's webhooks (docs.gitlab.com, "Webhook events"). Pure."""

from typing import Annotated, Any

from pydantic import Field

from services.bridge.ways_in.hooks.payload import Count, Items, Part, Payload, Words, event, first_line, words


class _Project(Payload):
    path_with_namespace: Words = ""
    web_url: Words = ""


class _Person(Payload):
    username: Words = ""
    name: Words = ""


class _Commit(Payload):
    id: Words = ""
    message: Words = ""


class _Thing(Payload):
    id: Count = None
    iid: Count = None
    title: Words = ""
    description: Words = ""
    note: Words = ""
    action: Words = ""
    state: Words = ""
    status: Words = ""
    ref: Words = ""
    url: Words = ""


class _Hook(Payload):
    object_kind: Words = ""
    ref: Words = ""
    user_username: Words = ""
    total_commits_count: Count = None
    project: Annotated[_Project, Part] = _Project()
    user: Annotated[_Person, Part] = _Person()
    commits: Annotated[list[_Commit], Items] = Field(default_factory=list)
    object_attributes: Annotated[_Thing, Part] = _Thing()


_BAD = frozenset({"failed"})
_MOST_COMMITS = 10


def read(body: bytes, kind: str) -> dict[str, Any]:
    """The event of a webhook.

    Args:
        body: JSON.
        kind: of ``X-Gitlab-Event``, which counts where the payload names none.
    """
    hook = _Hook.model_validate_json(body)
    match hook.object_kind:
        case "push" | "tag_push":
            return _push(hook)
        case "merge_request":
            return _merge_request(hook)
        case "pipeline":
            return _pipeline(hook)
        case other:
            thing = hook.object_attributes
            title = f"{_of(hook)}{words(other or kind) or 'webhook'} {words(thing.action)} {thing.title}"
            url = thing.url or hook.project.web_url
            return event("info_notification", title, thing.note or thing.description, _by(hook), url=url)


def _of(hook: _Hook) -> str:
    path = hook.project.path_with_namespace
    return f"{path}: " if path else ""


def _by(hook: _Hook) -> str:
    name = hook.user.username or hook.user_username or hook.user.name
    return f"by {name}" if name else ""


def _push(hook: _Hook) -> dict[str, Any]:
    branch = hook.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    count = hook.total_commits_count if hook.total_commits_count is not None else len(hook.commits)
    lines = [f"{commit.id[:7]} {first_line(commit.message)}" for commit in hook.commits[:_MOST_COMMITS]]
    title = f"{_of(hook)}{count} commit{'' if count == 1 else 's'} pushed to {branch}"
    kind = "git_tag" if hook.object_kind == "tag_push" else "git_push"
    if kind == "git_tag":
        title = f"{_of(hook)}tag {branch} pushed"
    return event(kind, title, *lines, _by(hook), url=hook.project.web_url, branch_name=branch[:500])


def _merge_request(hook: _Hook) -> dict[str, Any]:
    thing = hook.object_attributes
    kinds = {"open": "pull_request_created", "reopen": "pull_request_created", "merge": "pull_request_merged"}
    title = f"{_of(hook)}!{thing.iid} {words(thing.action or thing.state)}: {thing.title}"
    text = thing.description if thing.action == "open" else ""
    return event(kinds.get(thing.action, "status_change"), title, text, _by(hook), url=thing.url)


def _pipeline(hook: _Hook) -> dict[str, Any]:
    thing = hook.object_attributes
    bad = thing.status in _BAD
    done = {"success": "build_completed", "canceled": "build_completed", "failed": "build_failed"}
    title = f"{_of(hook)}pipeline {words(thing.status)} on {thing.ref}"
    url = thing.url or (f"{hook.project.web_url}/-/pipelines/{thing.id}" if thing.id else "")
    severity = "high" if bad else ""
    return event(done.get(thing.status, "build_started"), title, _by(hook), url=url, severity=severity)
