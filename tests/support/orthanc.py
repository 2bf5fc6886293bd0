"""A real Orthanc in a network of its own: it listens at every address, whatever it is told, and there is only loopback there."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import dcmread

TITLE, NODE, PEER = "ORTHANC", "MRCT", "TESTSCU"
# Orthanc's own ports: nothing else listens in its network.
DICOM_PORT, HTTP_PORT, NODE_PORT, PEER_PORT = 4242, 8042, 11112, 11114

# Loopback is down in a new network; the process that holds the network brings it up and waits for the end of its input.
_HOLDER = """
import fcntl, socket, struct, sys
with socket.socket() as s:
    flags = fcntl.ioctl(s, 0x8913, struct.pack("16sh14x", b"lo", 0))
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", struct.unpack_from("h", flags, 16)[0] | 1))
print("up", flush=True)
sys.stdin.read()
"""
_REQUEST = """
import sys, urllib.request
method, url = sys.argv[1:]
data = sys.stdin.buffer.read()
with urllib.request.urlopen(urllib.request.Request(url, data or None, method=method), timeout=60) as r:
    sys.stdout.buffer.write(r.read())
"""


@dataclass
class Network:
    """A network namespace with nothing in it but loopback."""

    prefix: list
    children: list = field(default_factory=list)

    def start(self, *words, **more):
        """A program in it, which is ended with it."""
        # a program of the system takes none of this process's Python paths but those of the sources
        path = os.pathsep.join(filter(None, sys.path))
        child = subprocess.Popen(
            [*self.prefix, *map(str, words)], env={**os.environ, "PYTHONPATH": path}, **more
        )
        self.children.append(child)
        return child

    def run(self, *words, check=True, data=b""):
        """What a program in it prints."""
        child = self.start(
            *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = child.communicate(data, timeout=120)[0]
        assert child.returncode == 0 or not check, output.decode(errors="replace")
        return output

    def end(self):
        """Ends every program that was started in it."""
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()


@contextmanager
def private_network():
    """A network; the test is skipped where this user may not make one."""
    for tool in ("unshare", "nsenter"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed, so Orthanc would listen at every address")
    root = os.geteuid() == 0
    holder = subprocess.Popen(
        ["unshare", "-n" if root else "-rn", sys.executable, "-c", _HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    enter = ["nsenter", "-t", str(holder.pid), *([] if root else ["-U", "--preserve-credentials"])]
    network = Network([*enter, "-n"])
    try:
        if holder.stdout.readline() != b"up\n":
            pytest.skip("no network namespace may be made here, so Orthanc would listen everywhere")
        yield network
    finally:
        network.end()
        holder.stdin.close()
        holder.wait(20)
        holder.stdout.close()


@dataclass
class Orthanc:
    """A running server, asked by REST."""

    network: Network

    def ask(self, method, path, content=b""):
        """The bytes of an answer."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        url = f"http://127.0.0.1:{HTTP_PORT}{path}"
        return self.network.run(sys.executable, "-c", _REQUEST, method, url, data=data)

    def get(self, path):
        """What an answer says."""
        return json.loads(self.ask("GET", path))

    def upload(self, folder):
        """Puts the DICOM files of a folder in by C-STORE; its own identifier of each study that it has then."""
        words = ("-aet", PEER, "-aec", TITLE, "+sd", "+r", "--scan-pattern", "*.dcm")
        program = system_program("dcmsend")
        self.network.run(program, *words, "127.0.0.1", DICOM_PORT, folder)
        return self.get("/studies")

    def push(self, study):
        """True if it has sent all of a study to the node."""
        words = ("-c", _REQUEST, "POST", f"http://127.0.0.1:{HTTP_PORT}/modalities/mrct/store")
        child = self.network.start(
            sys.executable,
            *words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        child.communicate(json.dumps([study]).encode(), timeout=120)
        return child.returncode == 0

    def made_here(self, study):
        """The instances of a study that are no MR."""
        series = self.get(f"/studies/{study}/series")
        others = [one for one in series if one["MainDicomTags"]["Modality"] != "MR"]
        return [instance for one in others for instance in one["Instances"]]

    def image(self, instance):
        """An instance, from its DICOM file."""
        return dcmread(io.BytesIO(self.ask("GET", f"/instances/{instance}/file")))

    def dcmtk(self, name, *words):
        """What a program of dcmtk prints that asks this server."""
        place = ("127.0.0.1", DICOM_PORT)
        return self.network.run(
            system_program(name), "-aet", PEER, "-aec", TITLE, *words, *place
        ).decode()

    def listen(self, folder):
        """Lets the other peer keep in a folder what this server sends to it."""
        storescp = system_program("storescp")
        self.network.start(storescp, "-aet", PEER, "-od", folder, "-pm", "--fork", PEER_PORT)
        echo = (system_program("echoscu"), "-aec", PEER, "127.0.0.1", PEER_PORT)
        while b"Error" in self.network.run(*echo, check=False):
            time.sleep(0.1)


def system_program(name):
    """Where the system's program is; pynetdicom puts some of its own under the names of dcmtk's."""
    program = shutil.which(name, path="/usr/local/bin:/usr/bin:/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


@contextmanager
def orthanc(folder):
    """An empty server that knows the node and one other peer."""
    program = system_program("Orthanc")
    folder.mkdir()
    configuration = folder / "orthanc.json"
    local = "127.0.0.1"
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "DicomAet": TITLE,
        "DicomPort": DICOM_PORT,
        "DicomCheckCalledAet": True,
        "HttpPort": HTTP_PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {
            "mrct": [NODE, local, NODE_PORT],
            "peer": [PEER, local, PEER_PORT],
        },
        "Plugins": [],
    }
    configuration.write_text(json.dumps(settings))
    with private_network() as network, (folder / "log").open("wb") as log:
        network.start(program, configuration, stdout=log, stderr=log)
        server = Orthanc(network)
        deadline = time.monotonic() + 30
        while not _answers(server):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield server


def _answers(server):
    url = f"http://127.0.0.1:{HTTP_PORT}/system"
    return b"Version" in server.network.run(sys.executable, "-c", _REQUEST, "GET", url, check=False)


def serve(network, spool, log, *options):
    """A node that sends its results to the server; `options` are those of mrct serve, then -- and those of mrct-infer."""
    script = "import sys; from mrct_cli.main import main; sys.argv[0] = 'mrct'; main()"
    words = [
        *("--spool", spool, "--port", NODE_PORT, "--json-log", "--caller", f"{TITLE}@127.0.0.1"),
        *("--destination", f"{TITLE}@127.0.0.1:{DICOM_PORT}"),
    ]
    with Path(log).open("ab") as file:
        return network.start(sys.executable, "-c", script, "serve", *words, *options, stderr=file)
