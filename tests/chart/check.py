#!/usr/bin/env python3
"""Renders the chart with every file of values in helm/homeostat/ci, and checks what comes out. scripts/check-chart starts it.

What is promised of each rendered object: no key stands in it twice; every field is one that Kubernetes 1.30, KEDA or the Prometheus
operator know, and has their type (the TypeScript compiler says so, where it was installed); Pod Security "restricted" admits every
pod; selectors select what they are meant to; what is mounted is there; the program takes the settings file. Of the alerts: promtool
reads them and their tests pass, every metric is exported by the program, and each has its section in docs/runbook.md.
Of values: those of refused.yaml are refused with the words that stand beside them.
"""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHART = os.path.join(ROOT, "helm/homeostat")
HELM = os.environ["HELM"]
BINARY = os.environ["HOMEOSTAT_BINARY"]
TYPES = os.environ.get("CHART_TYPES", "")
PROMTOOL = os.environ.get("PROMTOOL", "")
RUNBOOK = os.path.join(ROOT, "docs/runbook.md")
RELEASE, NAMESPACE = "rel", "space"

MODULES = {
    ("v1", "ConfigMap"): "kubernetes-types/core/v1#ConfigMap",
    ("v1", "Pod"): "kubernetes-types/core/v1#Pod",
    ("v1", "Service"): "kubernetes-types/core/v1#Service",
    ("v1", "ServiceAccount"): "kubernetes-types/core/v1#ServiceAccount",
    ("apps/v1", "Deployment"): "kubernetes-types/apps/v1#Deployment",
    ("batch/v1", "Job"): "kubernetes-types/batch/v1#Job",
    ("policy/v1", "PodDisruptionBudget"): "kubernetes-types/policy/v1#PodDisruptionBudget",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "kubernetes-types/autoscaling/v2#HorizontalPodAutoscaler",
    ("networking.k8s.io/v1", "NetworkPolicy"): "kubernetes-types/networking/v1#NetworkPolicy",
    ("keda.sh/v1alpha1", "ScaledObject"): "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject#IScaledObject",
    ("monitoring.coreos.com/v1", "ServiceMonitor"):
        "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor#IServiceMonitor",
    ("monitoring.coreos.com/v1", "PrometheusRule"):
        "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule#IPrometheusRule",
}

problems = []
checks = 0


def expect(good, sentence):
    global checks
    checks += 1
    if not good and sentence not in problems:
        problems.append(sentence)
    return good


class Strict(yaml.SafeLoader):
    """YAML in which no key stands twice: helm 4 and the API server refuse what helm 3 let pass."""


def strict_map(loader, node, deep=False):
    keys = [loader.construct_object(k, deep=True) for k, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f'"{key}" is given twice', node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, strict_map)


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def helm(*arguments, **more):
    return run(HELM, *arguments, **more)


HELM_4 = helm("version", "--short").stdout.startswith("v4")


def render(values, *more, sets=()):
    arguments = ["template", RELEASE, CHART, "-n", NAMESPACE, *more]
    for file in values:
        arguments += ["-f", file]
    for word in sets:
        arguments += ["--set", word]
    return helm(*arguments)


def documents(text, where):
    try:
        return [d for d in yaml.load_all(text, Loader=Strict) if d is not None]
    except yaml.YAMLError as e:
        expect(False, f"{where}: {e}")
        return []


def pod_of(o):
    if o["kind"] == "Pod":
        return o["spec"], o["metadata"]["labels"]
    template = o.get("spec", {}).get("template")
    return (template["spec"], template["metadata"]["labels"]) if template else (None, None)


def check_restricted(pod, where, own_uid):
    """The rules of Pod Security "restricted", and what we promise beyond them."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        expect(not pod.get(key), f"{where}: {key} is set")
    context = pod.get("securityContext", {})
    expect(context.get("runAsNonRoot") is True, f"{where}: runAsNonRoot is not set")
    expect(context.get("runAsUser") != 0, f"{where}: runs as root")
    expect(own_uid or context.get("runAsUser"), f"{where}: no uid")
    expect(context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"), f"{where}: no seccomp profile")
    expect(pod.get("automountServiceAccountToken") is False, f"{where}: a token of the API server is mounted")
    expect(pod.get("enableServiceLinks") is False, f"{where}: variables of services would be read as settings")
    for volume in pod.get("volumes", []):
        kind = [k for k in volume if k != "name"]
        expect(len(kind) == 1 and kind[0] in ("configMap", "emptyDir", "projected", "secret", "csi", "downwardAPI",
                                              "persistentVolumeClaim", "ephemeral"), f"{where}: volume {volume} is not allowed")
    for c in pod.get("initContainers", []) + pod["containers"]:
        own = c.get("securityContext", {})
        expect(own.get("allowPrivilegeEscalation") is False, f"{where}/{c['name']}: may gain privileges")
        expect(own.get("capabilities", {}).get("drop") == ["ALL"], f"{where}/{c['name']}: capabilities are kept")
        expect(not own.get("capabilities", {}).get("add"), f"{where}/{c['name']}: capabilities are added")
        expect(own.get("readOnlyRootFilesystem") is True, f"{where}/{c['name']}: the root can be written to")
        expect(not own.get("privileged"), f"{where}/{c['name']}: is privileged")
        expect("memory" in c.get("resources", {}).get("limits", {}), f"{where}/{c['name']}: no limit of memory")
        for port in c.get("ports", []):
            expect("hostPort" not in port, f"{where}/{c['name']}: takes a port of the node")


def check_pod(pod, where):
    volumes = [v["name"] for v in pod.get("volumes", [])]
    expect(len(volumes) == len(set(volumes)), f"{where}: a volume is named twice")
    mounted = set()
    for c in pod["containers"]:
        paths = [m["mountPath"] for m in c.get("volumeMounts", [])]
        expect(len(paths) == len(set(paths)), f"{where}: two volumes are mounted at one path")
        mounted |= {m["name"] for m in c.get("volumeMounts", [])}
        names = [e["name"] for e in c.get("env", [])]
        expect(len(names) == len(set(names)), f"{where}: a variable is set twice")
        for e in c.get("env", []):
            if str(e.get("value", "")).startswith("file:"):
                expect(any(e["value"][5:].startswith(p + "/") for p in paths), f"{where}: {e['value']} is mounted nowhere")
        named = {p["name"] for p in c.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in c:
                expect(c[probe]["httpGet"]["path"] in ("/livez", "/readyz"), f"{where}: {probe} asks for a path that is not served")
                expect(c[probe]["httpGet"]["port"] in named, f"{where}: {probe} asks a port that has no name")
    expect(mounted == set(volumes), f"{where}: {mounted ^ set(volumes)} is mounted or declared, not both")


def duration_seconds(text):
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)(ms|s|m|h|d)", str(text)))


def selects(selector, labels):
    return all(labels.get(k) == v for k, v in selector.items())


def check_release(objects, where):
    by_kind = {}
    for o in objects:
        by_kind.setdefault(o["kind"], []).append(o)
    (deployment,) = by_kind["Deployment"]
    pod, labels = pod_of(deployment)
    expect(selects(deployment["spec"]["selector"]["matchLabels"], labels), f"{where}: the Deployment does not select its pods")
    jobs = [pod_of(o)[1] for o in by_kind.get("Job", []) + by_kind.get("Pod", [])]
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for o in by_kind.get(kind, []):
            selector = o["spec"].get("podSelector", o["spec"].get("selector"))
            selector = selector.get("matchLabels", selector)
            expect(selects(selector, labels), f"{where}: the {kind} does not select the replicas")
            if kind != "NetworkPolicy":
                expect(not any(selects(selector, j) for j in jobs), f"{where}: the {kind} selects pods of Jobs")
    for o in by_kind.get("ServiceMonitor", []):
        expect(selects(o["spec"]["selector"]["matchLabels"], by_kind["Service"][0]["metadata"]["labels"]),
               f"{where}: the ServiceMonitor does not select the Service")
    for o in by_kind.get("HorizontalPodAutoscaler", []) + by_kind.get("ScaledObject", []):
        expect(o["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"], f"{where}: another Deployment is scaled")
        expect("replicas" not in deployment["spec"], f"{where}: an upgrade would undo what {o['kind']} did")
    accounts = {o["metadata"]["name"] for o in by_kind.get("ServiceAccount", [])} | {"default"}
    expect(pod["serviceAccountName"] in accounts, f"{where}: the service account is not there")
    maps = {o["metadata"]["name"] for o in by_kind["ConfigMap"]}
    for o in objects:
        spec, _ = pod_of(o)
        hook = o["metadata"].get("annotations", {}).get("helm.sh/hook", "")
        for v in (spec or {}).get("volumes", []):
            if "configMap" in v:
                expect(v["configMap"]["name"] in maps, f"{where}: {o['kind']} mounts a ConfigMap that is not there")
                expect("pre-install" not in hook, f"{where}: a hook before installation mounts what is installed after it")
    (settings,) = [o["data"]["homeostat.yaml"] for o in by_kind["ConfigMap"] if "homeostat.yaml" in o["data"]]
    config = yaml.load(settings, Loader=Strict)
    budget = config.get("drain", {}).get("budget", "5s" if config.get("profile") == "development" else "25s")
    expect(duration_seconds(budget) + 5 <= pod["terminationGracePeriodSeconds"], f"{where}: the grace period ends while it drains")
    (container,) = pod["containers"]
    expect(config["http"]["listen"].endswith(f":{container['ports'][0]['containerPort']}"), f"{where}: it listens on another port")
    check_settings(settings, where)


def check_settings(settings, where):
    """The program takes the file as it is. What Secrets hold is not here."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(settings)
        file.flush()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEOSTAT_")}
        taken = run(BINARY, "config", "--config", file.name, env=environment | {"HOMEOSTAT_HTTP_TOKEN": "t"})
        expect(taken.returncode == 0, f"{where}: the program refuses its settings: {taken.stderr.strip()}")


def check_object(o, where, own_uid):
    name = o["metadata"]["name"]
    expect(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name), f"{where}: \"{name}\" is no name")
    expect(o["metadata"].get("namespace") == NAMESPACE, f"{where}: {name} has no namespace for kubectl")
    for labels in (o["metadata"]["labels"], pod_of(o)[1] or {}):
        for k, v in labels.items():
            expect(re.fullmatch(r"|[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?", v), f"{where}: label {k}: \"{v}\" is none")
    expect((o["apiVersion"], o["kind"]) in MODULES, f"{where}: {o['apiVersion']} {o['kind']} is checked by nothing")
    pod, _ = pod_of(o)
    if pod:
        check_restricted(pod, f"{where}: {o['kind']} {name}", own_uid)
        check_pod(pod, f"{where}: {o['kind']} {name}")


def check_types(objects):
    """The compiler refuses fields that the types do not have, and values of another type."""
    if not TYPES:
        print("check-chart: no types of Kubernetes here (scripts/bootstrap fetches them): fields are not checked")
        return
    lines, origins = [], []
    for n, (where, o) in enumerate(objects):
        module, kind = MODULES[(o["apiVersion"], o["kind"])].split("#")
        lines.append(f'const o{n}: import("{module}").{kind} = {json.dumps(o)};')
        origins.append(f"{where}: {o['kind']} {o['metadata']['name']}")
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(os.path.join(TYPES, "node_modules"), os.path.join(folder, "node_modules"))
        with open(os.path.join(folder, "o.ts"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\nexport {};\n")
        done = run("node", os.path.join(TYPES, "node_modules/typescript/lib/tsc.js"), "--noEmit", "--strict", "--skipLibCheck",
                   "--module", "esnext", "--moduleResolution", "bundler", "o.ts", cwd=folder)
    found = done.stdout.strip().splitlines()
    for line in found:
        at = re.match(r"o\.ts\((\d+),", line)
        problems.append(f"{origins[int(at[1]) - 1] if at else 'types'}: {line}")
    expect(bool(found) == (done.returncode != 0), f"the TypeScript compiler ended with {done.returncode}: {done.stderr}")


def exported_metrics():
    """Names that the sources give to metrics, and what of a histogram comes out."""
    names = {"up"}
    for folder in ("controller", "core", "store", "reconcilers"):
        for path in glob.glob(os.path.join(ROOT, folder, "**/*.cpp"), recursive=True):
            with open(path, encoding="utf-8") as file:
                names |= set(re.findall(r'"((?:homeostat|controller_runtime|workqueue|gen_ai)_[a-z0-9_]+)"', file.read()))
    return names


def check_rules(objects):
    with open(RUNBOOK, encoding="utf-8") as file:
        sections = set(re.findall(r"^## (\w+)$", file.read(), re.M))
    known = exported_metrics()
    alerts = set()
    for where, o in objects:
        if o["kind"] != "PrometheusRule":
            continue
        for rule in (r for g in o["spec"]["groups"] for r in g["rules"] if "alert" in r):
            alerts.add(rule["alert"])
            expect(rule["alert"] in sections, f"docs/runbook.md has no section {rule['alert']}")
            expect(rule["annotations"]["runbook_url"].endswith("#" + rule["alert"].lower()), f"{rule['alert']}: links elsewhere")
            for metric in re.findall(r"([a-z_]+)\{", rule["expr"]):
                plain = re.sub(r"_(bucket|sum|count)$", "", metric)
                expect({metric, plain} & known, f"{rule['alert']}: the program exports no {metric}")
        if PROMTOOL:
            check_with_promtool(o["spec"], where)
    expect(sections <= alerts, f"docs/runbook.md has sections of no alert: {sections - alerts}")
    if not PROMTOOL:
        print("check-chart: no promtool here: expressions of alerts are not checked")


def check_with_promtool(spec, where):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "rules.yaml"), "w", encoding="utf-8") as file:
            yaml.safe_dump(spec, file)
        done = run(PROMTOOL, "check", "rules", os.path.join(folder, "rules.yaml"))
        expect(done.returncode == 0, f"{where}: {done.stdout}{done.stderr}")
        if where == "production":
            tests = os.path.join(folder, "alerts.yaml")
            with open(os.path.join(ROOT, "tests/chart/alerts.yaml"), encoding="utf-8") as file, open(tests, "w", encoding="utf-8") as to:
                to.write(file.read())
            done = run(PROMTOOL, "test", "rules", tests)
            expect(done.returncode == 0, f"tests/chart/alerts.yaml: {done.stdout}{done.stderr}")


def check_refusals():
    with open(os.path.join(ROOT, "tests/chart/refused.yaml"), encoding="utf-8") as file:
        cases = yaml.load(file, Loader=Strict)
    for case in cases:
        base = {"database": {"existingSecret": "db"}} if case.get("base", True) else {}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as first, tempfile.NamedTemporaryFile("w", suffix=".yaml") as second:
            yaml.safe_dump(base, first)
            yaml.safe_dump(case["values"], second)
            first.flush(), second.flush()
            done = render([first.name, second.name])
        expect(done.returncode != 0, f"these values are taken: {case['values']}")
        # Helm 3 words what the schema refuses otherwise; what it refuses is the same.
        other_words = not HELM_4 and "values don't meet the specifications" in done.stderr
        expect(case["says"] in done.stderr or other_words, f"{case['values']} is refused without \"{case['says']}\": {done.stderr.strip()}")


def check_schema():
    made = run(sys.executable, os.path.join(ROOT, "scripts/chart-schema"))
    with open(os.path.join(CHART, "values.schema.json"), encoding="utf-8") as file:
        expect(made.stdout == file.read(), "helm/homeostat/values.schema.json is not what the settings are now: "
               f"scripts/chart-schema > helm/homeostat/values.schema.json{made.stderr}")
    version = json.loads(run(BINARY, "version", "-o", "json").stdout)["version"]
    with open(os.path.join(CHART, "Chart.yaml"), encoding="utf-8") as file:
        expect(yaml.load(file, Loader=Strict)["appVersion"] == version, f"Chart.yaml: appVersion is not {version}")
    for file in [os.path.join(CHART, "values.yaml"), *glob.glob(os.path.join(CHART, "ci/*.yaml"))]:
        with open(file, encoding="utf-8") as text:
            documents(text.read(), file)


def main():
    check_schema()
    matrix = sorted(glob.glob(os.path.join(CHART, "ci/*-values.yaml")))
    expect(len(matrix) >= 12, "fewer than 12 files of values")
    everything = []
    for file in matrix:
        name = os.path.basename(file)[:-len("-values.yaml")]
        lint = helm("lint", "--strict", CHART, "-f", file)
        expect(lint.returncode == 0, f"{name}: {lint.stdout}{lint.stderr}")
        for more in ([], ["--kube-version", "1.25.0"], ["--is-upgrade"]):
            done = render([file], *more)
            where = " ".join([name, *more])
            if not expect(done.returncode == 0, f"{where}: {done.stderr}"):
                continue
            objects = documents(done.stdout, where)
            if not objects:
                continue
            keys = [(o["kind"], o["metadata"]["name"]) for o in objects]
            expect(len(keys) == len(set(keys)), f"{where}: an object stands there twice")
            for o in objects:
                check_object(o, where, own_uid=name == "openshift")
            check_release(objects, where)
            everything += [(where, o) for o in objects if (o["apiVersion"], o["kind"]) in MODULES]
    check_types(everything)
    check_rules(everything)
    check_refusals()
    for problem in problems:
        print(f"check-chart: {problem}", file=sys.stderr)
    print(f"check-chart: {len(matrix)} sets of values, {len(everything)} objects, {checks} checks, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
