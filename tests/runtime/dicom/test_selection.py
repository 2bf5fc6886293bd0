import pytest
from dicom_study import CANARY, make_grid, write_series

from mrct_runtime.dicom import choose_mr, judge, scan
from mrct_runtime.errors import NoInputError, SeriesError

AXIAL = make_grid((10, 8, 10))
SAGITTAL = make_grid((10, 8, 10), angles=(0, 90, 0))
CORONAL = make_grid((10, 8, 10), angles=(90, 0, 0))


def only_verdict(folder):
    (group,) = scan(folder).groups
    return judge(group)


def test_a_real_prostate_study_gives_its_axial_t2_by_itself(shared_data):
    choice = choose_mr(scan(shared_data / "prostatex_mr_dicom" / "ProstateX").groups)
    assert (choice.group.number, choice.group.description) == (4, "t2_tse_tra")
    assert "TE 104 ms +2" in choice.reason
    assert "series 3 't2_tse_sag': sagittal" in choice.reason


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        ("ge_fse_pd_axial_dicom", "not T2-weighted"),
        ("vendor_small_and_compressed_dicom", "sagittal"),
        ("prostatex_mr_dicom/ProstateX-missing-slice", "echo-planar"),
    ],
)
def test_real_studies_without_axial_t2_are_refused_with_the_reason(shared_data, study, reason):
    with pytest.raises(SeriesError, match=reason):
        choose_mr(scan(shared_data / study).groups)


def test_the_axial_t2_wins_over_every_other_contrast_and_plane(tmp_path):
    others = [
        (SAGITTAL, "t2_tse_sag", {}),
        (CORONAL, "t2_tse_cor", {}),
        (AXIAL, "t1_tse_tra", {"EchoTime": "11", "RepetitionTime": "600"}),
        (AXIAL, "ep2d_diff_tra", {"ScanningSequence": "EP", "EchoTime": "70"}),
        (AXIAL, "t2_tse_tra_fs", {"ScanOptions": "FS"}),
        (AXIAL, "t2_localizer", {}),
        (AXIAL, "t2_flair_tra", {"InversionTime": "2400", "ScanningSequence": ["SE", "IR"]}),
    ]
    for number, (grid, description, elements) in enumerate(others, start=10):
        write_series(
            tmp_path / str(number), grid, number=number, description=description, elements=elements
        )
    write_series(tmp_path / "wanted", AXIAL, number=4)
    write_series(tmp_path / "ct", AXIAL, modality="CT", number=30, description="t2 ct")
    choice = choose_mr(scan(tmp_path).groups)
    assert choice.group.number == 4
    assert all(f"'{description}'" in choice.reason for _, description, _ in others)


def test_timings_alone_are_enough(tmp_path):
    write_series(tmp_path, AXIAL, description="")
    assert only_verdict(tmp_path).score == pytest.approx(6.0)


def test_a_name_alone_is_enough(tmp_path):
    bare = dict.fromkeys(("EchoTime", "RepetitionTime", "EchoTrainLength", "ScanningSequence"))
    write_series(tmp_path, AXIAL, elements=bare)
    assert only_verdict(tmp_path).score == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("description", "elements", "reason"),
    [
        ("t1_vibe_tra", {"EchoTime": "2", "RepetitionTime": "4", "ScanningSequence": "GR"}, "T2"),
        ("pd_tse_tra", {"EchoTime": "20"}, "not T2"),
        ("t2_star", {"ScanningSequence": "GR", "EchoTime": "25"}, "not T2"),
        ("AX T2 SCOUT", {}, "localizer"),
        ("ax", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "diffusion"),
        ("ax", {"DiffusionBValue": 800.0}, "diffusion"),
        ("ax t2", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
    ],
)
def test_other_series_are_out_of_the_question(tmp_path, description, elements, reason):
    write_series(tmp_path, AXIAL, description=description, elements=elements)
    verdict = only_verdict(tmp_path)
    assert verdict.score is None
    assert reason in verdict.reason


@pytest.mark.parametrize("angle", [5, 23, 40])
def test_a_tilt_costs_points_but_does_not_exclude(tmp_path, angle):
    write_series(tmp_path, make_grid((10, 8, 10), angles=(angle, 0, 0)))
    assert only_verdict(tmp_path).score == pytest.approx(9.0 - angle / 30, abs=1e-3)


@pytest.mark.parametrize(("slices", "accepted"), [(2, False), (3, True)])
def test_a_stack_needs_three_slices(tmp_path, slices, accepted):
    write_series(tmp_path, make_grid((slices, 8, 10)))
    assert (only_verdict(tmp_path).score is not None) == accepted


def test_equally_good_series_are_listed_not_guessed(tmp_path):
    for number in (4, 5):
        write_series(tmp_path / str(number), AXIAL, number=number)
    groups = scan(tmp_path).groups
    with pytest.raises(SeriesError, match="2 series are equally good axial T2w") as caught:
        choose_mr(groups)
    for group in groups:
        assert f"{group.number} ({group})" in str(caught.value)
        assert choose_mr(groups, group.uid).group is group
        assert choose_mr(groups, str(group.number)).group is group
    assert "--series" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_named_series_need_not_be_t2_nor_axial_but_must_be_there_and_one(tmp_path):
    write_series(tmp_path / "t1", AXIAL, number=6, description="t1", elements={"EchoTime": "9"})
    write_series(tmp_path / "sag", SAGITTAL, number=7, description="sag")
    write_series(tmp_path / "a", AXIAL, number=8, description="a")
    write_series(tmp_path / "b", AXIAL, number=8, description="b")
    groups = scan(tmp_path).groups
    assert choose_mr(groups, "6").reason == "named by --series"
    assert choose_mr(groups, "7").group.plane == "sagittal"
    with pytest.raises(SeriesError, match="several MR series have the number 8") as caught:
        choose_mr(groups, "8")
    for group in groups[2:]:
        assert group.names == (group.uid,)
        assert f"{group.uid} ({group})" in str(caught.value)
        assert choose_mr(groups, group.uid).group is group
    with pytest.raises(SeriesError, match=r"no MR series '99'.*takes 6 \(series 6 't1'\), 7"):
        choose_mr(groups, "99")


def test_stacks_whose_number_is_no_name_are_listed_by_their_uids(tmp_path):
    def second_echo(index, image):
        image.EchoTime = "30" if index % 2 else "20"

    write_series(tmp_path / "a", AXIAL, description="a", per_slice=second_echo)
    write_series(tmp_path / "b", SAGITTAL, description="b")
    groups = scan(tmp_path).groups
    with pytest.raises(SeriesError, match="no axial T2") as caught:
        choose_mr(groups)
    (first, second, third) = sorted(groups, key=lambda group: group.description)
    for group, ending in ((first, ":1"), (second, ":2"), (third, "")):
        assert group.name == f"{group.uid}{ending}"
        assert f"series 4 '{group.description}'" in str(group)
        assert f"{group}, {group.name}: " in str(caught.value)
        assert choose_mr(groups, group.name).group is group


def test_a_number_names_the_mr_where_a_ct_has_it_too(tmp_path):
    write_series(tmp_path / "ct", AXIAL, modality="CT")
    write_series(tmp_path / "mr", AXIAL)
    assert choose_mr(scan(tmp_path).groups, "4").group.modality == "MR"


def test_one_of_the_echoes_of_a_series_is_named_by_its_place(tmp_path):
    def second_echo(index, image):
        image.EchoTime = "100" if index % 2 else "20"

    write_series(tmp_path, AXIAL, per_slice=second_echo)
    groups = scan(tmp_path).groups
    with pytest.raises(
        SeriesError, match=r"series 4 holds 2 stacks.*4:1 \(TE 20 ms\), 4:2"
    ) as caught:
        choose_mr(groups, "4")
    assert CANARY not in str(caught.value)
    assert choose_mr(groups, "4:2").group.headers[0].EchoTime == 100
    assert choose_mr(groups, f"{groups[0].uid}:1").group.headers[0].EchoTime == 20
    with pytest.raises(SeriesError, match="no MR series '4:3'"):
        choose_mr(groups, "4:3")


def test_the_axial_stack_of_a_localizer_is_not_taken_for_it(tmp_path):
    for k, grid in enumerate((AXIAL, SAGITTAL, CORONAL)):
        write_series(tmp_path / str(k), grid, elements={"SeriesInstanceUID": "1.2.3"})
    groups = scan(tmp_path).groups
    assert [str(group) for group in groups] == [
        f"series 4:{k} 't2_tse_tra' ({plane})"
        for k, plane in enumerate(("axial", "coronal", "sagittal"), start=1)
    ]
    with pytest.raises(SeriesError, match="holds 3 stacks"):
        choose_mr(groups, "4")


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase"),
        ({"ComplexImageComponent": "IMAGINARY"}, "imaginary"),
        ({"AcquisitionContrast": "PERFUSION"}, "perfusion"),
        ({"AcquisitionContrast": "T1"}, "not T2"),
        ({"AcquisitionContrast": "FLUID_ATTENUATED", "EchoTrainLength": "1"}, "fluid suppressed"),
    ],
)
def test_what_enhanced_images_say_of_themselves_counts(tmp_path, elements, reason):
    write_series(tmp_path, AXIAL, description="ax", elements=elements)
    verdict = only_verdict(tmp_path)
    assert verdict.score is None
    assert reason in verdict.reason


def test_t2_contrast_is_as_good_as_a_name(tmp_path):
    bare = dict.fromkeys(("EchoTime", "RepetitionTime", "EchoTrainLength", "ScanningSequence"))
    elements = {**bare, "AcquisitionContrast": "T2"}
    write_series(tmp_path, AXIAL, description="ax", elements=elements)
    assert only_verdict(tmp_path).score == pytest.approx(3.0)


def test_a_study_without_mr_is_no_input(tmp_path):
    write_series(tmp_path, AXIAL, modality="CT")
    with pytest.raises(NoInputError, match=r"no MR series in the study \(CT\)"):
        choose_mr(scan(tmp_path).groups)
