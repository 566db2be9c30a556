"""Plans that were attacked: what nobody approved stays, and a file's bytes leave the lake only once they are there
again."""

from __future__ import annotations

from tests.end_to_end.world import World
from tests.lake.talk import png

# Saved plans.


def test_what_came_to_match_a_trash_rule_since_a_plan_was_saved_is_not_trashed(world: World) -> None:
    world.talk.upload({"old.png": png(salt=b"old")}, "attic")
    world.manifest(trash=[{"collection": "attic", "type": "image"}])
    world.good("plan", "--out", "the.plan", "manifest.yaml")
    world.talk.upload({"dear.png": png(salt=b"dear")}, "attic")
    assert "1 file trashed" in world.good("apply", "the.plan").out
    assert world.names("attic") == ["dear.png"]
