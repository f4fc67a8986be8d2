BEGIN TRANSACTION;
CREATE TABLE built (
    project TEXT NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL, PRIMARY KEY (project, name)
);
INSERT INTO "built" VALUES('/home/me/project','train','{"name": "train", "sha256": "abababababababababababababababababababababababababababababababab", "size": 5, "inputs": "0101010101010101010101010101010101010101010101010101010101010101", "apptainer": "apptainer version 1.4.5", "created": "2026-01-02T03:04:05Z", "path": "/c/train.sif", "built_on": "hpc", "base": "docker.io/library/debian:13", "cached_on": ""}');
CREATE TABLE built_on (
    project TEXT NOT NULL, name TEXT NOT NULL, cluster TEXT NOT NULL, image TEXT NOT NULL,
    PRIMARY KEY (project, name, cluster)
);
INSERT INTO "built_on" VALUES('/home/me/project','train','hpc','{"name": "train", "sha256": "abababababababababababababababababababababababababababababababab", "size": 5, "inputs": "0101010101010101010101010101010101010101010101010101010101010101", "apptainer": "apptainer version 1.4.5", "created": "2026-01-02T03:04:05Z", "path": "/c/train.sif", "built_on": "hpc", "base": "docker.io/library/debian:13", "cached_on": ""}');
CREATE TABLE inputs (
    project TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, inputs BLOB NOT NULL, PRIMARY KEY (project, name)
);
INSERT INTO "inputs" VALUES('/home/me/project','train','abababababababababababababababababababababababababababababababab',X'789CCBCC2B282D290600091C02A4');
CREATE TABLE known_files (
    project TEXT NOT NULL, name TEXT NOT NULL, files BLOB NOT NULL, PRIMARY KEY (project, name)
);
INSERT INTO "known_files" VALUES('/home/me/project','train',X'7801AB564ACBCC492D56B252888ED551504AC94F2ECD4DCD2B010954D7D60200974A0A16');
CREATE TABLE locks (
    project TEXT NOT NULL, name TEXT NOT NULL, built TEXT NOT NULL, lock BLOB NOT NULL, PRIMARY KEY (project, name)
);
INSERT INTO "locks" VALUES('/home/me/project','train','2026-01-02T03:04:05Z',X'789CCBC94FCE56F80F0008C502C9');
CREATE TABLE parcels (
    run TEXT PRIMARY KEY, parcels TEXT NOT NULL
);
INSERT INTO "parcels" VALUES('sweep-0123456789','[{"sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", "size": 1200, "path": "code/x.tar", "what": "the code", "source": "/home/me/x.tar", "becomes": "code/x"}]');
CREATE TABLE published (
    sha256 TEXT NOT NULL, repository TEXT NOT NULL, manifest TEXT NOT NULL, size INTEGER NOT NULL, pushed INTEGER NOT NULL,
    PRIMARY KEY (sha256, repository)
);
INSERT INTO "published" VALUES('abababababababababababababababababababababababababababababababab','ghcr.io/me/train','2323232323232323232323232323232323232323232323232323232323232323',5,1767323001);
CREATE TABLE requests (
    run TEXT PRIMARY KEY, request BLOB NOT NULL
);
INSERT INTO "requests" VALUES('sweep-0123456789',X'789C358DC10E82400C447F85F44C44D19337BF83EC61C14620EC76538A04C9FEBBDD45931E66DEA4333B04A6113B817B01554F0E2BBD3F2B0B18A94DD1BC2286E429C8407E56B6C32B2C495C1477E49CF54F750D844D7AF26014A37F0F4CDEA197FCF1485D2DC4A89965B65BA6F3F04115B542E9994426FCD506CBD6A1201F835ECD9C3726CEFD4C6BF60D9C4F974492A8C19834E017D71E9FCDB52C6E26C62FA4EA483D');
CREATE TABLE resumed (
    run TEXT PRIMARY KEY
);
CREATE TABLE runs (
    id TEXT PRIMARY KEY, cluster TEXT NOT NULL, scheduler TEXT NOT NULL, submitted INTEGER NOT NULL,
    run TEXT NOT NULL, script BLOB NOT NULL, tasks TEXT NOT NULL DEFAULT '[]', asked INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "runs" VALUES('sweep-0123456789','hpc','slurm',1767322984,'{"id": "sweep-0123456789", "job": "sweep", "cluster": "hpc", "scheduler": "slurm", "image": "train", "sha256": "abababababababababababababababababababababababababababababababab", "tasks": 2, "command": ["python", "train.py", "caf\udce9"], "submitted": 1767322984, "job_id": "12", "part": 0, "repeats": "", "folder": "/scratch/me/hpcdeploy/runs/sweep-0123456789", "workdir": "", "outputs": ["model.pt"], "code_sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", "code_commit": "efefefefefefefefefefefefefefefefefefefef", "code_dirty": true}',X'23212F62696E2F626173680A636166E90A','[{"task": 0, "exit_code": 0, "node": "n1", "started": 1767322990, "ended": 1767322999, "state": "COMPLETED"}, {"task": 1, "word": "RUNNING", "node": "n2", "started": 1767322990, "state": "RUNNING"}]',1767323000,0);
CREATE INDEX runs_by_age ON runs (submitted);
COMMIT;
