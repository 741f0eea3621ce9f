"""What users choose is checked before a run starts, whichever notebook it belongs to."""

import pytest

from mentor_kd.checks import check_values
from mentor_kd.files import InputError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"protocol": "loud"}, "protocol is one of sound, paper, not 'loud'"),
        ({"soft_label_beta": 2.0}, "beta is a number in"),
        ({"soft_label_k": -1}, "soft_label_k is a whole number, 0 for all tokens, not -1"),
        ({"consistency_weight": -0.1}, "consistency_weight .alpha. is a number from 0"),
        ({"on_policy_share": 1.5}, "on_policy share is a number in"),
        ({"on_policy_temperature": 0.0}, "on_policy temperature is a number above 0"),
        ({"on_policy_beta": -1.0}, "on_policy beta is a number in"),
        ({"lora_rank": -1}, "lora rank is a whole number from 0"),
        ({"lora_merge": 1}, "lora merge is true or false"),
        ({"mentor_lora_rank": -8}, "lora rank is a whole number from 0"),
        ({"methods": ["mentor-kd", "sorcery"]}, "unknown method 'sorcery'"),
    ],
)
def test_a_wrong_value_is_refused_at_once(values, words):
    with pytest.raises(InputError, match=words):
        check_values({"a": values}, ["sandbox-letters"])


def test_right_values_pass():
    values = {"protocol": "paper", "soft_label_beta": 1.0, "on_policy_share": 0.0, "lora_rank": 64, "lora_merge": False}
    check_values({"a": values, "b": {"mentor_lora_rank": 128}}, ["sandbox-letters"])
