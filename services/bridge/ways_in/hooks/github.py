"""GitHub's webhooks (docs.github.com, "Webhook events and payloads"). Pure."""

from typing import Annotated, Any

from pydantic import Field

from services.bridge.ways_in.hooks.payload import (
    Count,
    Flag,
    Items,
    Part,
    Payload,
    Words,
    event,
    first_line,
    words,
)


class _Person(Payload):
    login: Words = ""


class _Repository(Payload):
    full_name: Words = ""
    html_url: Words = ""


class _Commit(Payload):
    id: Words = ""
    message: Words = ""


class _Thing(Payload):
    """An issue, a pull request, a release, a run or a comment."""

    number: Count = None
    title: Words = ""
    name: Words = ""
    tag_name: Words = ""
    html_url: Words = ""
    body: Words = ""
    merged: Flag = None
    conclusion: Words = ""
    head_branch: Words = ""
    head_sha: Words = ""


class _Hook(Payload):
    action: Words = ""
    ref: Words = ""
    compare: Words = ""
    zen: Words = ""
    forced: Flag = None
    deleted: Flag = None
    repository: Annotated[_Repository, Part] = _Repository()
    sender: Annotated[_Person, Part] = _Person()
    commits: Annotated[list[_Commit], Items] = Field(default_factory=list)
    pull_request: Annotated[_Thing, Part] = _Thing()
    issue: Annotated[_Thing, Part] = _Thing()
    comment: Annotated[_Thing, Part] = _Thing()
    release: Annotated[_Thing, Part] = _Thing()
    workflow_run: Annotated[_Thing, Part] = _Thing()


#: Commits of a push that are listed.
_MOST_COMMITS = 10
_BAD = frozenset({"failure", "timed_out", "startup_failure"})


def read(body: bytes, kind: str) -> dict[str, Any]:
    """The event of a webhook.

    Args:
        body: JSON.
        kind: of ``X-GitHub-Event``.
    """
    hook = _Hook.model_validate_json(body)
    match kind:
        case "push":
            return _push(hook)
        case "pull_request":
            return _pull_request(hook)
        case "workflow_run":
            return _run(hook)
        case "issues" | "issue_comment" | "release":
            return _thing(hook, kind)
        case "ping":
            return event(
                "info_notification", f"{_of(hook)}webhook is set up", hook.zen, url=hook.repository.html_url
            )
        case _:
            title = f"{_of(hook)}{words(kind) or 'webhook'} {words(hook.action)}"
            return event("info_notification", title, _by(hook), url=hook.repository.html_url)


def _of(hook: _Hook) -> str:
    return f"{hook.repository.full_name}: " if hook.repository.full_name else ""


def _by(hook: _Hook) -> str:
    return f"by {hook.sender.login}" if hook.sender.login else ""


def _push(hook: _Hook) -> dict[str, Any]:
    branch = hook.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    if hook.deleted:
        return event(
            "git_branch", f"{_of(hook)}{branch} was deleted", _by(hook), url=hook.repository.html_url
        )
    count = len(hook.commits)
    how = "force-pushed" if hook.forced else "pushed"
    title = f"{_of(hook)}{count} commit{'' if count == 1 else 's'} {how} to {branch}"
    lines = [f"{commit.id[:7]} {first_line(commit.message)}" for commit in hook.commits[:_MOST_COMMITS]]
    more = [f"and {count - _MOST_COMMITS} more"] if count > _MOST_COMMITS else []
    kind = "git_tag" if hook.ref.startswith("refs/tags/") else "git_push"
    return event(
        kind, title, *lines, *more, url=hook.compare, branch_name=branch[:500], author=hook.sender.login[:500]
    )


def _pull_request(hook: _Hook) -> dict[str, Any]:
    pull = hook.pull_request
    merged = hook.action == "closed" and pull.merged
    kinds = {"opened": "pull_request_created", "reopened": "pull_request_created"}
    kind = "pull_request_merged" if merged else kinds.get(hook.action, "status_change")
    done = "merged" if merged else words(hook.action)
    text = pull.body if hook.action == "opened" else ""
    return event(kind, f"{_of(hook)}#{pull.number} {done}: {pull.title}", text, _by(hook), url=pull.html_url)


def _run(hook: _Hook) -> dict[str, Any]:
    run = hook.workflow_run
    bad = run.conclusion in _BAD
    kind = "build_failed" if bad else "build_completed" if run.conclusion else "build_started"
    title = f"{_of(hook)}{run.name} {words(run.conclusion or hook.action)}"
    severity = "high" if bad else ""
    return event(
        kind, title, _by(hook), url=run.html_url, severity=severity, branch_name=run.head_branch[:500]
    )


def _thing(hook: _Hook, kind: str) -> dict[str, Any]:
    thing = hook.release if kind == "release" else hook.issue
    name = f"#{thing.number} {thing.title}" if thing.number else thing.name or thing.tag_name
    shown = hook.comment if kind == "issue_comment" else thing
    what = {"issues": "issue", "issue_comment": "comment on issue"}.get(kind, kind)
    title = f"{_of(hook)}{what} {words(hook.action)}: {name}"
    return event("info_notification", title, shown.body, _by(hook), url=shown.html_url)
