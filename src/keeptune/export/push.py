"""`keeptune push`: an exported arm and its card in a repository of the hub."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from keeptune.core.errors import ConfigError, ModelError
from keeptune.core.files import write_whole
from keeptune.export.card import model_card
from keeptune.export.chosen import Chosen
from keeptune.export.folder import export
from keeptune.export.records import Dtype, PushRecord


def push(
    chosen: Chosen,
    repo: str,
    *,
    merge: bool = False,
    dtype: Dtype | None = None,
    private: bool = False,
    license: str | None = None,
) -> PushRecord:
    """Export an arm, write its card, and upload both in one commit; the repository is made where there is none.

    Args:
        chosen: the arm.
        repo: owner/name.
        merge: see `export`.
        dtype: see `export`.
        private: of a repository that is made.
        license: of the weights, as the hub names licences: "apache-2.0".

    Returns:
        The address of the commit, and what was exported.

    Raises:
        ConfigError: not a name of a repository.
        ModelError: what would be uploaded says other things than the study's model, or the hub refuses it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if repo.count("/") != 1 or not all(repo.split("/")):
        raise ConfigError(f"'{repo}' is no repository", remedy="write owner/name")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "export"
        record = export(chosen, folder, merge=merge, dtype=dtype)
        write_whole(folder / "README.md", model_card(chosen, record, repo, license))
        api = HfApi()
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message=f"{chosen.arm.label}, by keeptune", delete_patterns="*"
            )
        except HFValidationError as error:
            raise ConfigError(f"'{repo}' is no repository: {error}", remedy="write owner/name") from error
        except OfflineModeIsEnabled as error:
            raise ModelError("the hub is switched off", where="HF_HUB_OFFLINE", remedy="unset it to push") from error
        except HfHubHTTPError as error:
            raise _refused(repo, error) from error
        except OSError as error:
            where = os.environ.get("HF_ENDPOINT", "huggingface.co")
            raise ModelError(f"the hub cannot be reached: {error}", where=where, remedy="check the network") from error
    return PushRecord(url=str(done.commit_url), export=record)


def _refused(repo: str, error: Exception) -> ModelError:
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code in (401, 403):
        return ModelError(
            "the hub does not let you write there", where=repo, remedy="log in with a write token: hf auth login"
        )
    lines = str(error).strip().splitlines()
    return ModelError(f"the hub refused it: {lines[0] if lines else code}", where=repo)
