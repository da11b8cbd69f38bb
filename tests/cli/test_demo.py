"""`pose-backbones demo`: the page in a headless browser, and errors before it is served."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_backbones import PoseInferencer
from pose_backbones.cli import demo
from pose_backbones.errors import ConfigError, PoseBackbonesError
from pose_backbones.inference.loading import check_model
from pose_backbones.zoo import list_models, list_releases
from pose_backbones.zoo.mmpose import read_mmpose_models
from tests.helpers.browser import start_browser
from tests.helpers.fork_server import restore_signals
from tests.helpers.pose_cases import estimator, make_image, model_options
from tests.helpers.tools import ROOT
from tests.helpers.video_cases import make_video

needs_gradio = pytest.mark.skipif(find_spec('gradio') is None, reason='Gradio is not installed')


def free_port() -> int:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--port', '0'], '--port 0: expected 1 to 65535'),
        (['--host', 'localhost'], '--host localhost: expected an IP address'),
        (['--max-frames', '0'], '--max-frames 0: expected at least 1'),
        (['--weights', 'x.pth'], '--weights requires --model'),
    ],
)
def test_invalid_options_raise(arguments, message):
    with pytest.raises(ConfigError, match=message):
        demo.main(arguments)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--model', 'xyzzy', '--weights', 'x.pth'], "unknown model 'xyzzy': expected the path"),
        (['--model', 'moganet-s_coco-256x192', '--weights', 'x.pth'], 'not found: x.pth'),
        (['--model', 'moganet-s_crowdpose-256x192'], 'has no released weights'),
        (['--model', 'internet_res50'], 'predicts keypoints in 3D'),
        (['--model', ''], 'no model is selected'),
    ],
)
def test_unusable_models_raise_before_the_page_is_served(arguments, message, monkeypatch):
    monkeypatch.setattr(demo, '_import_gradio', lambda _: None)
    with pytest.raises(PoseBackbonesError, match=message):
        demo.main([*arguments, '--port', str(free_port()), '--device', 'cpu'])


def test_models_on_the_page():
    """Models of this package are first, and there are none that PoseInferencer rejects."""
    names = demo._models(None)
    assert names[0] == 'td-hm_moganet-s_8xb32-210e_coco-256x192'
    released = {name for name, release in list_releases().items() if release is not None}
    own = released & set(list_models())
    assert set(names[: len(own)]) == own
    codecs = re.compile('PoseLifting|MotionBERTLabel|Hand3DHeatmap')
    models = [model for model in read_mmpose_models().values() if model.name in released]
    rejected = {model.name for model in models if codecs.search(model.config.read_text())}
    assert sorted(names) == sorted(released - rejected)
    for name in rejected:
        with pytest.raises(ConfigError, match='predicts keypoints in 3D'):
            check_model(name)
    first, *others = demo._models('human')
    assert first == 'human'
    assert sorted(others) == sorted(names)


def test_missing_gradio_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED', 'HF_HUB_DISABLE_TELEMETRY'):
        monkeypatch.setenv(name, '')  # restored after the test
    with pytest.raises(ConfigError, match=r"needs Gradio: pip install 'pose_backbones\[demo\]'"):
        demo.main([])
    assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False'


def test_port_in_use_raises():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=f'port {port}: Address already in use.*--port'):
            demo._check_port('127.0.0.1', port)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """Start the command in another process; return the port, the directory and a browser."""
    folder = tmp_path_factory.mktemp('demo')
    (folder / 'temporary').mkdir()
    cv2.imwrite(str(folder / 'photo.png'), make_image(0, 160, 120))
    make_video(folder / 'clip.mp4', 6)
    (folder / 'camera.MP4').write_bytes((folder / 'clip.mp4').read_bytes())
    make_video(folder / 'long.mp4', 12)
    folder.joinpath('notes.txt').write_text('not an image')
    browser = start_browser()
    port = free_port()
    log = open(folder / 'log.txt', 'w')
    process = subprocess.Popen(
        [
            *(sys.executable, '-m', 'pose_backbones.cli', 'demo', *model_options(folder)),
            *('--port', str(port), '--max-frames', '10'),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'TMPDIR': str(folder / 'temporary'),
            'POSE_BACKBONES_BACKEND': 'torch',
        },
        stdout=log,
        stderr=subprocess.STDOUT,
        preexec_fn=restore_signals,
    )
    try:
        wait_for(lambda: f'http://127.0.0.1:{port}' in (folder / 'log.txt').read_text())
        yield port, folder, browser
        # Ctrl-C ends the page and removes the uploads and results.
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
        assert list((folder / 'temporary').glob('pose-backbones-demo-*')) == []
        assert 'Traceback' not in (folder / 'log.txt').read_text()
    finally:
        process.kill()
        process.wait()
        log.close()
        browser.quit()


def wait_for(condition, seconds: float = 90.0):
    """Wait until a condition returns a true value, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError('the page did not react in time')


def submit(page, name: str) -> None:
    """Open the page, upload a file and start the estimation."""
    port, folder, browser = page
    browser.get(f'http://127.0.0.1:{port}')
    script = 'return document.querySelector("#upload input[type=file]")'
    wait_for(lambda: browser.execute_script(script)).send_keys(str(folder / name))
    wait_for(lambda: name.split('.')[0] in text_of(browser, '#upload'))
    click = 'const run = document.querySelector("#run"); if (run) run.click(); return run !== null'
    wait_for(lambda: browser.execute_script(click))


def text_of(browser, selector: str) -> str:
    return browser.execute_script(
        'const found = document.querySelector(arguments[0]); return found ? found.innerText : "";',
        selector,
    )


def downloads(page) -> dict[str, bytes]:
    """Return file name → content of the results that the page offers."""
    links = wait_for(
        lambda: page[2].execute_script(
            'return [...document.querySelectorAll("#files a")].map(a => a.href)'
        )
    )
    script = """
        const done = arguments[1];
        fetch(arguments[0]).then(r => r.arrayBuffer()).then(
            data => done([...new Uint8Array(data)]));
    """
    return {
        link.rpartition('/')[2]: bytes(page[2].execute_async_script(script, link))
        for link in dict.fromkeys(links)
    }


@pytest.mark.browser
@needs_gradio
def test_image_on_the_page(page):
    _, folder, browser = page
    submit(page, 'photo.png')
    size = 'const i = document.querySelector("#image img"); return i ? i.naturalWidth : 0'
    wait_for(lambda: browser.execute_script(size) == 160)
    assert text_of(browser, '#summary') == '1 person'
    files = downloads(page)
    (expected,) = PoseInferencer(estimator())(str(folder / 'photo.png'))
    (entry,) = json.loads(files['photo.json'])
    assert entry['name'] == 'photo.png'
    np.testing.assert_allclose(entry['people'][0]['keypoints'], expected.keypoints[0], atol=1e-3)
    drawn = cv2.imdecode(np.frombuffer(files['photo.png'], np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(drawn, expected.draw())
    # Nothing is loaded from another server.
    loaded = browser.execute_script(
        'return performance.getEntriesByType("resource").map(e => e.name)'
    )
    assert loaded
    assert {name.split('/')[2] for name in loaded if '://' in name} == {f'127.0.0.1:{page[0]}'}


@pytest.mark.browser
@needs_gradio
@pytest.mark.parametrize('name', ['clip.mp4', 'camera.MP4'])
def test_clip_on_the_page(page, name):
    browser = page[2]
    submit(page, name)
    wait_for(lambda: text_of(browser, '#summary') == '6 people in 6 frames')
    files = downloads(page)
    entries = json.loads(files[f'{Path(name).stem}.json'])
    assert [entry['frame'] for entry in entries] == list(range(6))
    assert files[name][4:8] == b'ftyp'
    assert wait_for(
        lambda: browser.execute_script(
            'const v = document.querySelector("#video video"); return v ? v.currentSrc : ""'
        )
    )


@pytest.mark.browser
@needs_gradio
@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('notes.txt', 'notes.txt'),
        ('long.mp4', 'long.mp4 has 12 frames: expected at most 10 frames'),
    ],
)
def test_unusable_uploads_show_one_message(page, name, message):
    browser = page[2]
    submit(page, name)
    toasts = '[...document.querySelectorAll(".toast-body")].map(e => e.innerText)'
    (text,) = wait_for(lambda: browser.execute_script(f'return {toasts}'))
    assert message in text
    assert '/tmp' not in text
    assert 'people' not in text_of(browser, '#summary')


@pytest.mark.browser
@needs_gradio
def test_page_fits_a_narrow_window(page):
    port, _, browser = page
    browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        dict(width=360, height=800, deviceScaleFactor=1, mobile=True),
    )
    browser.get(f'http://127.0.0.1:{port}')
    wait_for(lambda: text_of(browser, '#run') == 'Estimate poses')
    overflow = 'return document.documentElement.scrollWidth - innerWidth'
    assert browser.execute_script(overflow) <= 0
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


def test_models_are_chosen_by_name(tmp_path):
    """A config, which could be uploaded, is not executed, except for that of the option."""
    args = demo.parse_args(['--device', 'cpu'])
    cv2.imwrite(str(tmp_path / 'a.png'), make_image(0))
    config = tmp_path / 'config.py'
    config.write_text(f'open({str(tmp_path / "executed")!r}, "w").close()\nmodel = dict()\n')
    (tmp_path / 'folder').mkdir()
    for name in (str(config), str(tmp_path / 'folder'), f'mmpose::{config}', 'moganet'):
        with pytest.raises(ConfigError):
            demo.Demo(args, tmp_path / 'results').run(
                str(tmp_path / 'a.png'), name, demo._WHOLE_IMAGE
            )
    assert not (tmp_path / 'executed').exists()


def test_results_of_a_previous_run_are_removed(tmp_path):
    args = demo.parse_args(['--device', 'cpu'])
    page_demo = demo.Demo(args, tmp_path / 'results')
    page_demo._inferencer, page_demo._name = PoseInferencer(estimator()), 'tiny'
    for name in ('a', 'b'):
        cv2.imwrite(str(tmp_path / f'{name}.png'), make_image(0))
        drawn, poses, _ = page_demo.run(str(tmp_path / f'{name}.png'), 'tiny', demo._WHOLE_IMAGE)
        assert sorted(Path(tmp_path, 'results').iterdir()) == [poses, drawn]
    with pytest.raises(ConfigError, match='was removed in the meantime'):
        page_demo.run(str(tmp_path / 'c.png'), 'tiny', demo._WHOLE_IMAGE)
