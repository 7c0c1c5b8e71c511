#!/usr/bin/env python3
"""Runs what the chart renders, without a cluster: the pod's command, environment, mounts, uid, limit of memory and probes, in the root
folder of the image, against a real PostgreSQL. scripts/prove-image starts it.

  prove.py IMAGE_ROOT CLUSTER_FILE      CLUSTER_FILE is of tests/kit's pg_cluster: its line is the folder of the server's socket

Seen are: the migration Job ends with 0, a Job of declarations declares, the Deployment's pod is ready within 5 seconds by its own
probes, embeds what was declared, goes on where it is killed and started again, stays below its limit of memory, and ends on SIGTERM with 0
inside its grace period. As root; a namespace of mounts and processes stands for the pod.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IMAGE, CLUSTER = os.path.realpath(sys.argv[1]), sys.argv[2]
HELM = os.environ["HELM"]
NAME = f"chart_{os.getpid()}"
CGROUP = "/sys/fs/cgroup/memory"


def say(sentence):
    print(f"prove-image: {sentence}", flush=True)


def must(good, sentence):
    if not good:
        sys.exit(f"prove-image: {sentence}")


with open(CLUSTER, encoding="utf-8") as line:
    SOCKET = line.readline().strip()


def psql(sql, database="postgres"):
    with open(os.path.join(DEPS, "pg/bindir"), encoding="utf-8") as file:
        client = os.path.join(file.readline().strip(), "psql")
    done = subprocess.run([client, "-h", SOCKET, "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", "-qAt"], input=sql,
                          capture_output=True, text=True, check=False)
    must(done.returncode == 0, f"psql: {done.stderr}")
    return done.stdout.strip()


DEPS = os.environ.get("DEPS_DIR", os.path.join(ROOT, ".deps"))


def render():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {
        "config": {"http": {"listen": f"0.0.0.0:{port}"}, "profile": "production", "drain": {"budget": "10s"}},
        "database": {"existingSecret": "run"}, "reader": {"existingSecret": "reader"},
        "httpToken": {"existingSecret": "token"}, "migrations": {"existingSecret": "owner", "mode": "job"},
        "declarations": {"existingSecret": "declare", "mode": "job"},
        "pipelines": {"articles": {"source": "public.articles", "content": ["title", "body"], "provider": "local",
                                   "target": "public.articles_embeddings"}},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        done = subprocess.run([HELM, "template", "rel", os.path.join(ROOT, "helm/homeostat"), "-n", "space", "-f", file.name],
                              capture_output=True, text=True, check=False)
    must(done.returncode == 0, done.stderr)
    return [o for o in yaml.safe_load_all(done.stdout) if o], port


def login(role):
    return f"host=/run/pg user={role} dbname={NAME}"


def secrets():
    return {"run": {"uri": login(f"{NAME}_run")}, "reader": {"uri": login(f"{NAME}_reader")}, "declare": {"uri": login(f"{NAME}_declare")},
            "owner": {"uri": login(f"{NAME}_owner")}, "token": {"token": "a-token-of-this-test"}}


def fill(volume, folder, objects):
    """What the kubelet would put there. Files of Secrets are root's and the pod's group's."""
    os.makedirs(folder)
    sources = volume.get("projected", {}).get("sources", [])
    for source in sources:
        for item in source["secret"]["items"]:
            path = os.path.join(folder, item["path"])
            with open(path, "w", encoding="utf-8") as file:
                file.write(secrets()[source["secret"]["name"]][item["key"]] + "\n")
            os.chmod(path, volume["projected"]["defaultMode"])
            os.chown(path, 0, 65532)
    if "configMap" in volume:
        (data,) = [o["data"] for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == volume["configMap"]["name"]]
        for name, text in data.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)


class Pod:
    """One container of a pod, run in namespaces of its own: process 1, a root that cannot be written to, no new privileges."""

    def __init__(self, spec, objects, work):
        (self.container,) = spec["containers"]
        self.work = work
        context = {**spec["securityContext"], **self.container["securityContext"]}
        must(context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}, "the pod keeps what it should drop")
        root = os.path.join(work, "root")
        lines = ["set -e", f"mkdir -p {root}", f"mount --bind {IMAGE} {root}", f"mount -o remount,bind,ro,nosuid {root}",
                 f"mount -t proc proc {root}/proc"]
        # Mount points, as an engine makes them: over a layer in memory, as the image's root stays as it is.
        lines += [f"mount -t tmpfs run {root}/run", f"mkdir -p {root}/run/pg", f"touch {root}/run/pg/.s.PGSQL.5432",
                  f"mount --bind {SOCKET}/.s.PGSQL.5432 {root}/run/pg/.s.PGSQL.5432"]
        by_name = {v["name"]: v for v in spec["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume = by_name[mount["name"]]
            at = root + mount["mountPath"]
            if mount["mountPath"].startswith("/etc/homeostat/"):
                lines += [f"mount -t tmpfs etc {root}/etc/homeostat"]
            if not mount["mountPath"] in ("/tmp", "/etc/homeostat"):
                lines += [f"mkdir -p {at}"]
            if "emptyDir" in volume:
                lines += [f"mount -t tmpfs -o mode=1777,size={volume['emptyDir']['sizeLimit'].replace('Mi', 'm')} {mount['name']} {at}"]
            else:
                folder = os.path.join(work, mount["name"])
                fill(volume, folder, objects)
                lines += [f"mount --bind {folder} {at}", f"mount -o remount,bind,ro {at}"]
        lines += [f"mount -o remount,ro {root}/run"]
        self.limit = int(self.container["resources"]["limits"]["memory"].replace("Mi", "")) << 20
        self.group = os.path.join(CGROUP, NAME + "_" + self.container["name"])
        lines += [f"echo $$ > {self.group}/cgroup.procs"] if self.has_limit() else []
        uid, gid = context["runAsUser"], context["runAsGroup"]
        words = " ".join(f"'{a}'" for a in ["/usr/bin/homeostat", *self.container["args"]])
        lines += [f"exec setpriv --no-new-privs unshare --root={root} --wd=/ --setgid={gid} --setuid={uid} {words}"]
        env = {e["name"]: e["value"] for e in self.container.get("env", [])}
        self.log = open(os.path.join(work, "log"), "w+", encoding="utf-8")
        self.started = time.monotonic()
        self.process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(lines)],
                                        env={"PATH": os.environ["PATH"], **env}, stdout=self.log, stderr=subprocess.STDOUT)

    def has_limit(self):
        if not os.path.isdir(CGROUP):
            return False
        os.makedirs(self.group, exist_ok=True)
        with open(os.path.join(self.group, "memory.limit_in_bytes"), "w", encoding="ascii") as file:
            file.write(str(self.limit))
        return True

    def most_memory(self):
        with open(os.path.join(self.group, "memory.max_usage_in_bytes"), encoding="ascii") as file:
            return int(file.read())

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def pid(self):
        """The container's process 1, as seen from here."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def end(self, seconds):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            sys.exit(f"prove-image: {self.container['name']} did not end within {seconds} s:\n{self.text()}")


def asked(port, path, token=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except OSError as e:
        return 0, str(e)


def can_write(path):
    """Even for root, who asks."""
    try:
        with open(path, "w", encoding="ascii"):
            return True
    except OSError:
        return False


def until(pod, seconds, what, good):
    """Polls as a kubelet does; the time is only a bound."""
    end = time.monotonic() + seconds
    while not good():
        must(pod.process.poll() is None, f"{what}: the program has ended:\n{pod.text()}")
        must(time.monotonic() < end, f"{what}: not within {seconds} s:\n{pod.text()}")
        time.sleep(0.05)
    return time.monotonic() - pod.started


def embedded(pod, documents):
    ask = f"SELECT count(*) FROM homeostat.pipelines WHERE documents = {documents} AND ready = 'True'"
    return until(pod, 120, f"embedding {documents} documents", lambda: psql(ask, NAME) == "1")


def prepare():
    psql("\n".join(f"CREATE ROLE {NAME}_{who} LOGIN;" for who in ("owner", "run", "reader", "declare")))
    psql(f"CREATE DATABASE {NAME} OWNER {NAME}_owner")
    psql("CREATE EXTENSION IF NOT EXISTS vector", NAME)
    for group in ("owner", "controller", "declarer", "admin"):
        psql(f"DO $$ BEGIN CREATE ROLE homeostat_{group} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    psql(f"GRANT homeostat_owner TO {NAME}_owner; GRANT homeostat_controller TO {NAME}_run; GRANT homeostat_declarer TO {NAME}_declare")
    psql("CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text);"
         "INSERT INTO articles SELECT i, 'title ' || i, 'body ' || i FROM generate_series(1, 200) i;"
         f"GRANT SELECT ON articles TO {NAME}_reader, {NAME}_declare, homeostat_controller; GRANT TRIGGER ON articles TO homeostat_controller;"
         "GRANT USAGE, CREATE ON SCHEMA public TO homeostat_controller, homeostat_declarer;"
         f"GRANT USAGE ON SCHEMA public TO {NAME}_reader", NAME)


def clean_up():
    psql(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
    psql("\n".join(f"DROP ROLE IF EXISTS {NAME}_{who};" for who in ("owner", "run", "reader", "declare")))


def run_job(objects, component, work):
    (job,) = [o for o in objects if o["kind"] == "Job" and o["metadata"]["labels"]["app.kubernetes.io/component"] == component]
    pod = Pod(job["spec"]["template"]["spec"], objects, work)
    code = pod.end(120)
    must(code == 0, f"Job {component} ended with {code}:\n{pod.text()}")
    say(f"Job {component}: ended with 0 after {time.monotonic() - pod.started:.1f} s: {pod.text().strip().splitlines()[-1]}")


def main():
    objects, port = render()
    with tempfile.TemporaryDirectory(prefix="prove-") as work:
        os.chmod(work, 0o755)
        prepare()
        run_job(objects, "migrate", os.path.join(work, "migrate"))
        run_job(objects, "declare", os.path.join(work, "declare"))
        (deployment,) = [o for o in objects if o["kind"] == "Deployment"]
        spec = deployment["spec"]["template"]["spec"]
        pod = Pod(spec, objects, os.path.join(work, "run"))
        probes = {name: pod.container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
        live = until(pod, 30, "the startup probe", lambda: asked(port, probes["startup"])[0] == 200)
        ready = until(pod, 30, "the readiness probe", lambda: asked(port, probes["readiness"])[0] == 200)
        say(f"Deployment: alive after {live:.2f} s, ready after {ready:.2f} s")
        must(ready < float(os.environ.get("READY_WITHIN", 5)), f"ready after {ready:.2f} s")
        must(asked(port, "/metrics")[0] == 401, "metrics are told without the token")
        must("homeostat_leases_held" in asked(port, "/metrics", "a-token-of-this-test")[1], "metrics are not told with the token")
        embedded(pod, 200)
        # A container that dies is started again under the same name and number.
        os.kill(pod.pid(), signal.SIGKILL)
        pod.process.wait()
        psql("INSERT INTO articles VALUES (201, 'late', 'written while nobody was there')", NAME)
        pod = Pod(spec, objects, os.path.join(work, "again"))
        again = until(pod, 30, "the readiness probe", lambda: asked(port, probes["readiness"])[0] == 200)
        healed = embedded(pod, 201)
        say(f"Deployment: killed and started again: ready after {again:.2f} s, what was written meanwhile is served after {healed:.2f} s")
        with open(f"/proc/{pod.pid()}/status", encoding="ascii") as file:
            status = dict(re.findall(r"^(\w+):\s+(.*)$", file.read(), re.M))
        must(set(status["Uid"].split()) == {"65532"} and set(status["Gid"].split()) == {"65532"}, f"it runs as {status['Uid']}")
        must(int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0, "it has capabilities")
        must(status["NoNewPrivs"] == "1", "it may gain privileges")
        for path in ("/usr/bin/x", "/etc/homeostat/x", "/run/secrets/homeostat/x"):
            must(not can_write(f"/proc/{pod.pid()}/root{path}"), f"{path} can be written to")
        must(can_write(f"/proc/{pod.pid()}/root/tmp/x"), "/tmp cannot be written to")
        must(status["NSpid"].split()[-1] == "1", "it is not process 1 of its pod")
        memory = f", {pod.most_memory() >> 20} of {pod.limit >> 20} MiB at most" if os.path.isdir(pod.group) else ", no limit of memory here"
        say(f"Deployment: 201 documents embedded and served by the built-in model as uid 65532, without capabilities, on a read-only root{memory}")
        os.kill(pod.pid(), signal.SIGTERM)
        asked_at = time.monotonic()
        code = pod.end(spec["terminationGracePeriodSeconds"])
        must(code == 0, f"it ended with {code}:\n{pod.text()}")
        say(f"Deployment: ended with 0 after {time.monotonic() - asked_at:.2f} s of {spec['terminationGracePeriodSeconds']} s")
        first = json.loads(pod.text().splitlines()[0])
        must(first["profile"] == "production", "the settings file was not read")
        for group in (pod.group, os.path.join(CGROUP, NAME + "_migrate"), os.path.join(CGROUP, NAME + "_declare")):
            if os.path.isdir(group):
                os.rmdir(group)
    print("1 passed, 0 failed")


if __name__ == "__main__":
    try:
        main()
    finally:
        clean_up()
