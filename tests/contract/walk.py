"""Holds the examples of a document against its schemas, and sends them as a newcomer would."""

import json
import re
from collections.abc import Iterator

import jsonschema_rs
from wire import send

PROBLEM = "application/problem+json"
# What somebody else does than who is logged in: the user of this address, whose account is made above.
BY_BOB = {"accept_invitation"}
BOB = {"email": "bob@example.com", "password": "correct horse battery"}
# What no newcomer may do: an operator is made on the machine.
BY_OPERATORS = {"list_whole_access_log"}
# What somebody does who is then gone: an account that is made for it.
BY_EVA = {"delete_me"}
EVA = {"email": "eva@example.com", "password": "correct horse battery"}
# What ends the token: whoever goes on logs in again.
ENDS_LOGINS = {"change_password", "logout_all"}
CHANGING = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[\w.-]{40,}")


def operations(document: dict) -> Iterator[tuple[str, str, dict]]:
    """Method, path and description of every call, in the order of the page: by tag, then as they come, and what
    takes away comes last."""
    for tag in document["tags"]:
        calls = [
            (method, path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if tag["name"] in operation["tags"]
        ]
        # Who has left an organization takes nothing else away from it.
        yield from sorted(calls, key=lambda call: (call[0] == "delete", call[2]["operationId"] == "delete_member"))


def resolved(document: dict, part: dict) -> dict:
    if "$ref" not in part:
        return part
    for name in part["$ref"].removeprefix("#/").split("/"):
        document = document[name]
    return document


def examples(document: dict, content: dict) -> dict[str, object]:
    """The values of a content's examples by their names, in their order."""
    named = {name: resolved(document, it)["value"] for name, it in content.get("examples", {}).items()}
    return {"example": content["example"], **named} if "example" in content else named


def flaws(document: dict, schema: dict, value: object) -> list[str]:
    whole = {**schema, "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [f"{error.message} at {list(error.instance_path)}" for error in validator.iter_errors(value)]


def check(document: dict) -> list[str]:
    """What is wrong with the examples: one is missing, or does not fit."""
    problems = []
    for method, path, operation in operations(document):
        name = operation["operationId"]
        for parameter in operation.get("parameters", []):
            has_example = "example" in parameter
            if parameter["in"] == "path" and not has_example:
                problems.append(f"{name}: {parameter['name']} has no example")
            if has_example:
                wrong = flaws(document, parameter["schema"], parameter["example"])
                problems += [f"{name}, {parameter['name']}: {it}" for it in wrong]
        contents = [("request", None, operation.get("requestBody", {}).get("content", {}))]
        for status, answer in operation["responses"].items():
            contents.append((status, answer["description"], answer.get("content", {})))
        for where, description, content in contents:
            for media_type, of_type in content.items():
                found = examples(document, of_type)
                if not found:
                    problems.append(f"{name}: {where} has no example of {media_type}")
                if media_type == PROBLEM:
                    problems += of_problem(name, where, description, found)
                for example, value in found.items():
                    wrong = flaws(document, of_type["schema"], value)
                    problems += [f"{name}, {where}, {example}: {it}" for it in wrong]
    return problems


def of_problem(name: str, status: str, description: str, found: dict[str, dict]) -> list[str]:
    """A problem's examples are of exactly the codes that the answer names."""
    codes = {word for word in re.findall(r"`(\w+)`", description)}
    problems = [f"{name}, {status}: no example of {code}" for code in sorted(codes - found.keys())]
    problems += [f"{name}, {status}: {code} is not told" for code in sorted(found.keys() - codes)]
    for code, value in found.items():
        if value["code"] != code or str(value["status"]) != status:
            problems.append(f"{name}, {status}: the example of {code} is one of {value['code']}")
    return problems


def follow(document: dict, url: str) -> list[str]:
    """Sends every example of a request from the top of the page to its end, each with what came before."""
    learned: dict[str, str] = {}
    token = account = None
    problems = []
    count = 0
    for method, path, operation in operations(document):
        given = [it for it in operation.get("parameters", []) if "example" in it]
        values = {it["name"]: translated(learned, it["example"]) for it in given if it["in"] == "path"}
        query = {it["name"]: translated(learned, it["example"]) for it in given if it["in"] == "query"}
        headers = {it["name"]: it["example"] for it in given if it["in"] == "header"}
        if token and operation.get("security"):
            own = token
            if operation["operationId"] in BY_BOB:
                own = send(url, "post", "/api/v1/auth/login", body=BOB).body["access_token"]
            if operation["operationId"] in BY_EVA:
                send(url, "post", "/api/v1/auth/register", body=EVA)
                own = send(url, "post", "/api/v1/auth/login", body=EVA).body["access_token"]
            headers["Authorization"] = f"Bearer {own}"
        content = operation.get("requestBody", {}).get("content", {})
        bodies = [(kind, name, body) for kind, of in content.items() for name, body in examples(document, of).items()]
        for media_type, name, body in bodies or [("", "", None)]:
            count += 1
            body = translated(learned, body)
            answer = send(
                url, method, path, values=values, query=query, headers=headers, body=body, media_type=media_type
            )
            where = f"{operation['operationId']} {name}".strip()
            if operation["operationId"] in BY_OPERATORS:
                if answer.status != 403:
                    problems.append(f"{where}: {answer.status} to a newcomer")
                continue
            if answer.status not in (200, 201, 204) or str(answer.status) not in operation["responses"]:
                problems.append(f"{where}: {answer.status} {answer.body}")
                continue
            if operation["operationId"] == "login":
                account = body
            if operation["operationId"] in ENDS_LOGINS:
                token = send(url, "post", "/api/v1/auth/login", body=account).body["access_token"]
            told = operation["responses"][str(answer.status)].get("content", {}).get(answer.media_type)
            if told is None:
                problems += [f"{where}: {answer.media_type} is not told"] if answer.body else []
                continue
            problems += [f"{where}, its answer: {it}" for it in flaws(document, told["schema"], answer.body)]
            shown = examples(document, told)
            if method != "get":
                learn(learned, shown.get(name) or next(iter(shown.values())), answer.body)
            if operation["operationId"] in ("login", "refresh_tokens"):
                token = answer.body["access_token"]
    if count < len(list(operations(document))):
        problems.append(f"only {count} examples were sent")
    return problems


def learn(learned: dict[str, str], example: object, real: object) -> None:
    """Which id or token here stands in the place of which one there, as the page learns it."""
    if isinstance(example, dict) and isinstance(real, dict):
        for name in example.keys() & real.keys():
            learn(learned, example[name], real[name])
    elif isinstance(example, list) and isinstance(real, list):
        for one, other in zip(example, real):
            learn(learned, one, other)
    elif isinstance(example, str) and isinstance(real, str) and CHANGING.fullmatch(example):
        learned[example] = real


def translated(learned: dict[str, str], value: object) -> object:
    text = json.dumps(value)
    for example, real in learned.items():
        text = text.replace(example, real)
    return json.loads(text)
